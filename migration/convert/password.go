package convert

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// passwordKeys end the names of the dynamic broker configs of type password:
// ZooKeeper has their values encrypted (DynamicBrokerConfig.DynamicPasswordConfigs,
// matched by their end because of the prefixes "listener.name.X.").
var passwordKeys = []string{
	"ssl.keystore.password", "ssl.key.password", "ssl.truststore.password", "ssl.keystore.key",
	"ssl.keystore.certificate.chain", "ssl.truststore.certificates", "sasl.jaas.config",
}

// IsPassword reports whether a broker config is a password.
func IsPassword(key string) bool {
	return slices.ContainsFunc(passwordKeys, func(end string) bool { return strings.HasSuffix(key, end) })
}

const (
	// maxIterations bounds the work that a znode can ask for; Kafka's default is
	// 4096, and a million takes under a second.
	maxIterations = 1_000_000
	// newIterations and newKeyBits are Kafka's defaults for passwords that it writes
	// (password.encoder.iterations, password.encoder.key.length).
	newIterations = 4096
	newKeyBits    = 128
	// saltBytes is the salt's length (EncryptingPasswordEncoder).
	saltBytes = 256

	newKeyFactory = "PBKDF2WithHmacSHA512"
	newCipher     = "AES/CBC/PKCS5Padding"
)

// ErrPassword is in the chain when a password of ZooKeeper cannot be decrypted.
var ErrPassword = errors.New("the password cannot be decrypted: is password.encoder.secret the brokers'?")

// DecodePassword decrypts a password config with the brokers'
// password.encoder.secret (EncryptingPasswordEncoder). The errors hold nothing of
// the value.
func DecodePassword(secret, text string) (string, error) {
	fields, err := passwordFields(text)
	if err != nil {
		return "", err
	}
	block, err := passwordCipher(secret, fields)
	if err != nil {
		return "", err
	}
	sealed, err1 := base64.StdEncoding.DecodeString(fields["encryptedPassword"])
	iv, err2 := base64.StdEncoding.DecodeString(fields["initializationVector"])
	length, err3 := strconv.Atoi(fields["passwordLength"])
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", fmt.Errorf("an encrypted password has a bad field: %w", err)
	}
	var plain []byte
	switch algorithm := fields["cipherAlgorithm"]; algorithm {
	case "AES/CBC/PKCS5Padding":
		plain, err = openCBC(block, iv, sealed)
	case "AES/GCM/NoPadding":
		plain, err = openGCM(block, iv, sealed)
	default:
		return "", fmt.Errorf("passwords are encrypted with %s: AES/CBC/PKCS5Padding and AES/GCM/NoPadding are known", algorithm)
	}
	if err != nil {
		return "", err
	}
	if len(utf16.Encode([]rune(string(plain)))) != length { // Java counts UTF-16 units
		return "", ErrPassword
	}
	return string(plain), nil
}

// passwordFields splits name:value,name:value (Csv.parseCsvMap). Base64 has
// neither separator.
func passwordFields(text string) (map[string]string, error) {
	fields := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok {
			return nil, errors.New("a password config is not encrypted as Kafka does, in fields of name:value")
		}
		fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return fields, nil
}

// passwordCipher derives the key.
func passwordCipher(secret string, fields map[string]string) (cipher.Block, error) {
	salt, err := base64.StdEncoding.DecodeString(fields["salt"])
	if err != nil {
		return nil, fmt.Errorf("the salt of an encrypted password is not base64: %w", err)
	}
	iterations, err := strconv.Atoi(fields["iterations"])
	if err != nil || iterations < 1 || iterations > maxIterations {
		return nil, fmt.Errorf("an encrypted password has %q iterations: 1 to %d are known", fields["iterations"], maxIterations)
	}
	bits, err := strconv.Atoi(fields["keyLength"])
	if err != nil || (bits != 128 && bits != 192 && bits != 256) {
		return nil, fmt.Errorf("an encrypted password has a key of %q bits: 128, 192 and 256 are known", fields["keyLength"])
	}
	var sum func() hash.Hash
	switch name := fields["keyFactoryAlgorithm"]; name {
	case "PBKDF2WithHmacSHA512":
		sum = sha512.New
	case "PBKDF2WithHmacSHA384":
		sum = sha512.New384
	case "PBKDF2WithHmacSHA256":
		sum = sha256.New
	case "PBKDF2WithHmacSHA1":
		sum = sha1.New
	default:
		return nil, fmt.Errorf("the keys of passwords are derived with %s: PBKDF2WithHmacSHA512, SHA384, SHA256 and SHA1 are known", name)
	}
	key, err := pbkdf2.Key(sum, secret, salt, iterations, bits/8)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}

func openCBC(block cipher.Block, iv, sealed []byte) ([]byte, error) {
	if len(iv) != block.BlockSize() || len(sealed) == 0 || len(sealed)%block.BlockSize() != 0 {
		return nil, ErrPassword
	}
	plain := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, sealed)
	n := int(plain[len(plain)-1])
	if n < 1 || n > block.BlockSize() {
		return nil, ErrPassword
	}
	for _, c := range plain[len(plain)-n:] {
		if int(c) != n {
			return nil, ErrPassword
		}
	}
	return plain[:len(plain)-n], nil
}

func openGCM(block cipher.Block, iv, sealed []byte) ([]byte, error) {
	if len(iv) == 0 {
		return nil, ErrPassword
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, iv, sealed, nil)
	if err != nil {
		return nil, ErrPassword
	}
	return plain, nil
}

// EncodePassword encrypts a password config as Kafka 3.9 does by default. random
// must have 272 bytes, fresh for each password: the salt and the initialization
// vector.
func EncodePassword(secret, password string, random [saltBytes + aes.BlockSize]byte) (string, error) {
	b64 := base64.StdEncoding.EncodeToString
	salt, iv := random[:saltBytes], random[saltBytes:]
	fields := map[string]string{
		"salt": b64(salt), "iterations": strconv.Itoa(newIterations), "keyLength": strconv.Itoa(newKeyBits), "keyFactoryAlgorithm": newKeyFactory,
	}
	block, err := passwordCipher(secret, fields)
	if err != nil {
		return "", err
	}
	n := block.BlockSize() - len(password)%block.BlockSize()
	plain := append([]byte(password), slices.Repeat([]byte{byte(n)}, n)...)
	sealed := make([]byte, len(plain))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, plain)
	return fmt.Sprintf("initializationVector:%s,keyLength:%d,salt:%s,keyFactoryAlgorithm:%s,cipherAlgorithm:%s,iterations:%d,passwordLength:%d,encryptedPassword:%s",
		b64(iv), newKeyBits, b64(salt), newKeyFactory, newCipher, newIterations, len(utf16.Encode([]rune(password))), b64(sealed)), nil
}
