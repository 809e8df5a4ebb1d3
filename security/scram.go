package security

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"kvorum/metadatalog/image"
)

// Iterations that Kafka takes (ScramMechanism.minIterations,
// ScramControlManager.MAX_ITERATIONS).
const (
	MinScramIterations = 4096
	MaxScramIterations = 16384
)

// ScramMechanismName is the SASL name of a mechanism, empty for a number that
// is none.
func ScramMechanismName(m image.ScramMechanism) string {
	switch m {
	case image.ScramSHA256:
		return "SCRAM-SHA-256"
	case image.ScramSHA512:
		return "SCRAM-SHA-512"
	default:
		return ""
	}
}

func scramHash(m image.ScramMechanism) (func() hash.Hash, error) {
	switch m {
	case image.ScramSHA256:
		return sha256.New, nil
	case image.ScramSHA512:
		return sha512.New, nil
	default:
		return nil, fmt.Errorf("there is no SCRAM mechanism %d", m)
	}
}

// ScramFromPassword derives the credential that is stored for a user (RFC
// 5802). As in Kafka the password is taken as UTF-8 without further
// normalization. Salt is kept, not copied.
func ScramFromPassword(user string, m image.ScramMechanism, password string, salt []byte, iterations int) (image.ScramCredential, error) {
	newHash, err := scramHash(m)
	if err != nil {
		return image.ScramCredential{}, err
	}
	if password == "" {
		return image.ScramCredential{}, fmt.Errorf("the password of %s is empty", user)
	}
	if err := checkIterations(iterations); err != nil {
		return image.ScramCredential{}, err
	}
	salted, err := pbkdf2.Key(newHash, password, salt, iterations, newHash().Size())
	if err != nil {
		return image.ScramCredential{}, fmt.Errorf("salt the password of %s: %w", user, err)
	}
	return ScramFromSalted(user, m, salted, salt, iterations)
}

// ScramFromSalted is ScramFromPassword for a password that was salted
// elsewhere, as AlterUserScramCredentials carries it.
func ScramFromSalted(user string, m image.ScramMechanism, salted, salt []byte, iterations int) (image.ScramCredential, error) {
	newHash, err := scramHash(m)
	if err != nil {
		return image.ScramCredential{}, err
	}
	if len(salted) == 0 {
		return image.ScramCredential{}, fmt.Errorf("the salted password of %s is empty", user)
	}
	if err := checkIterations(iterations); err != nil {
		return image.ScramCredential{}, err
	}
	stored := newHash()
	stored.Write(keyed(newHash, salted, "Client Key"))
	return image.ScramCredential{
		User: user, Mechanism: m, Salt: salt, Iterations: int32(iterations),
		StoredKey: stored.Sum(nil), ServerKey: keyed(newHash, salted, "Server Key"),
	}, nil
}

func keyed(newHash func() hash.Hash, key []byte, text string) []byte {
	h := hmac.New(newHash, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func checkIterations(n int) error {
	if n < MinScramIterations || n > MaxScramIterations {
		return fmt.Errorf("%d iterations are not between %d and %d", n, MinScramIterations, MaxScramIterations)
	}
	return nil
}
