package convert

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// apachesPasswords are what is encrypted in testdata/passwords.txt, line by line,
// by Apache's EncryptingPasswordEncoder: CBC with SHA-512, CBC with SHA-1 and a
// key of 256 bits, GCM with SHA-256.
var apachesPasswords = []string{passwordText, "", "p\u00e4ss\U0001F511"}

func TestApachesPasswords(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "passwords.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(apachesPasswords) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		if got, err := DecodePassword(testSecret, line); err != nil || got != apachesPasswords[i] {
			t.Errorf("password %d is %q, %v", i, got, err)
		}
		if got, err := DecodePassword("another", line); !errors.Is(err, ErrPassword) {
			t.Errorf("with a wrong secret password %d is %q, %v", i, got, err)
		}
	}
}

func TestPasswordsComeBack(t *testing.T) {
	for i, want := range []string{"", "x", "fifteen bytes!!", "sixteen bytes!!!", strings.Repeat("long ", 200), "p\u00e4ss\U0001F511", "a,b:c=d\n"} {
		text, err := EncodePassword("s", want, [saltBytes + 16]byte{byte(i), 200: 9, 270: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodePassword("s", text); err != nil || got != want {
			t.Errorf("%q came back as %q, %v", want, got, err)
		}
	}
}

func TestBadPasswords(t *testing.T) {
	good, err := EncodePassword(testSecret, "x", [saltBytes + 16]byte{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"keyLength:128", "keyLength:129", "bits"},
		{"iterations:4096", "iterations:99999999", "iterations"},
		{"iterations:4096", "iterations:0", "iterations"},
		{"PBKDF2WithHmacSHA512", "MD5", "derived with MD5"},
		{"AES/CBC/PKCS5Padding", "DES", "encrypted with DES"},
		{"passwordLength:1", "passwordLength:2", "password.encoder.secret"},
		{"salt:", "salt:!", "salt"},
		{"initializationVector:", "initializationVector:AAAA", "password.encoder.secret"},
		{"encryptedPassword:", "encryptedPassword:!", "bad field"},
		{",", ";", "iterations"},
	} {
		if _, err := DecodePassword(testSecret, strings.ReplaceAll(good, c.from, c.to)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s instead of %s: %v", c.to, c.from, err)
		}
	}
	if _, err := DecodePassword(testSecret, "clear text"); err == nil || strings.Contains(err.Error(), "clear text") {
		t.Errorf("a password in clear text: %v", err)
	}
}

func FuzzDecodePassword(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "passwords.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f.Add(line)
	}
	f.Add("a:b")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "iterations:") && !strings.Contains(text, "iterations:4096") {
			return // a million of them take long
		}
		if got, err := DecodePassword(testSecret, text); err == nil && len(got) > len(text) {
			t.Errorf("%q is longer than %q", got, text)
		}
	})
}
