package security

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kvorum/metadatalog/image"
)

// saltBytes is the length of a salt that is drawn here.
const saltBytes = 24

// ParseAddScram reads the argument of "storage format --add-scram" (KIP-900):
//
//	SCRAM-SHA-256=[name=alice,password=secret,iterations=8192,salt="base64"]
//
// with saltedpassword="base64" in place of password, iterations and salt
// optional (but salt is needed with saltedpassword). random is where a missing
// salt is drawn from. Texts are those of Apache's ScramParser; beyond it, an
// empty name, and a password beside a salted one, are refused.
func ParseAddScram(arg string, random io.Reader) (image.ScramCredential, error) {
	var none image.ScramCredential
	m, values, err := splitAddScram(arg)
	if err != nil {
		return none, err
	}
	take := func(key string) (string, bool) {
		v, ok := values[key]
		delete(values, key)
		return v, ok
	}
	name, ok := take("name")
	if !ok || name == "" {
		return none, addScramError("You must supply 'name' to add-scram")
	}
	salt, err := addScramBytes(take, "salt", "salt")
	if err != nil {
		return none, err
	}
	iterations, err := addScramIterations(take)
	if err != nil {
		return none, err
	}
	password, hasPassword := take("password")
	salted, err := addScramBytes(take, "saltedpassword", "saltedPassword")
	switch {
	case err != nil:
		return none, err
	case !hasPassword && salted == nil:
		return none, addScramError("You must supply one of 'password' or 'saltedpassword' to add-scram")
	case hasPassword && salted != nil:
		return none, addScramError("You must supply only one of 'password' or 'saltedpassword' to add-scram")
	case salted != nil && salt == nil:
		return none, addScramError("You must supply 'salt' with 'saltedpassword' to add-scram")
	case len(values) > 0:
		return none, addScramError("Unknown SCRAM configurations: %s", strings.Join(slices.Sorted(maps.Keys(values)), ", "))
	}
	if err := checkAddScramIterations(iterations, m); err != nil {
		return none, err
	}
	if salt == nil {
		salt = make([]byte, saltBytes)
		if _, err := io.ReadFull(random, salt); err != nil {
			return none, fmt.Errorf("draw a salt for %s: %w", name, err)
		}
	}
	if salted != nil {
		return ScramFromSalted(name, m, salted, salt, iterations)
	}
	return ScramFromPassword(name, m, password, salt, iterations)
}

// splitAddScram takes the argument apart; of equal keys the last one counts.
func splitAddScram(arg string) (image.ScramMechanism, map[string]string, error) {
	arg = strings.TrimSpace(arg)
	name, list, ok := strings.Cut(arg, "=")
	if !ok {
		return 0, nil, addScramError("Failed to find equals sign in SCRAM argument '%s'", arg)
	}
	var m image.ScramMechanism
	for _, known := range []image.ScramMechanism{image.ScramSHA256, image.ScramSHA512} {
		if name == ScramMechanismName(known) {
			m = known
		}
	}
	switch {
	case m == 0:
		return 0, nil, addScramError("The add-scram mechanism %s is not supported.", name)
	case !strings.HasPrefix(list, "["):
		return 0, nil, addScramError("Expected configuration string to start with [")
	case len(list) < 2 || !strings.HasSuffix(list, "]"):
		return 0, nil, addScramError("Expected configuration string to end with ]")
	}
	components := strings.Split(list[1:len(list)-1], ",")
	for len(components) > 1 && components[len(components)-1] == "" { // as Java splits
		components = components[:len(components)-1]
	}
	values := make(map[string]string, len(components))
	for _, component := range components {
		key, value, ok := strings.Cut(component, "=")
		if !ok {
			return 0, nil, addScramError("No equals sign found in SCRAM component: %s", component)
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		values[key] = value
	}
	return m, values, nil
}

// addScramBytes takes a base64 value; padding may be left off. Nil means that
// it was not given.
func addScramBytes(take func(string) (string, bool), key, shown string) ([]byte, error) {
	text, ok := take(key)
	if !ok {
		return nil, nil
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, addScramError("Failed to decode given %s: %s", shown, text)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

func addScramIterations(take func(string) (string, bool)) (int, error) {
	text, ok := take("iterations")
	if !ok {
		return MinScramIterations, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, addScramError("Failed to parse iterations count: %s", text)
	}
	return int(n), nil
}

func checkAddScramIterations(n int, m image.ScramMechanism) error {
	name := strings.ReplaceAll(ScramMechanismName(m), "-", "_")
	switch {
	case n < MinScramIterations:
		return addScramError("The 'iterations' value must be >= %d for add-scram using %s", MinScramIterations, name)
	case n > MaxScramIterations:
		return addScramError("The 'iterations' value must be <= %d for add-scram using %s", MaxScramIterations, name)
	}
	return nil
}

// addScramError is an error in Apache's words, which begin with a capital.
func addScramError(format string, args ...any) error {
	return fmt.Errorf(format, args...)
}
