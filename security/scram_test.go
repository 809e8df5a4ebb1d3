package security

import (
	"bytes"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"kvorum/metadatalog/image"
)

// TestScramAgainstAnotherLibrary derives what xdg-go/scram derives.
func TestScramAgainstAnotherLibrary(t *testing.T) {
	salt := []byte("0123456789abcdef")
	for mechanism, hash := range map[image.ScramMechanism]scram.HashGeneratorFcn{image.ScramSHA256: scram.SHA256, image.ScramSHA512: scram.SHA512} {
		got, err := ScramFromPassword("alice", mechanism, "pencil", salt, 8192)
		if err != nil {
			t.Fatal(err)
		}
		client, err := hash.NewClient("alice", "pencil", "")
		if err != nil {
			t.Fatal(err)
		}
		want := client.GetStoredCredentials(scram.KeyFactors{Salt: string(salt), Iters: 8192})
		if !bytes.Equal(got.StoredKey, want.StoredKey) || !bytes.Equal(got.ServerKey, want.ServerKey) {
			t.Errorf("%s: got %x %x, want %x %x", ScramMechanismName(mechanism), got.StoredKey, got.ServerKey, want.StoredKey, want.ServerKey)
		}
	}
}

func TestScramRefuses(t *testing.T) {
	for _, c := range []struct {
		mechanism  image.ScramMechanism
		password   string
		iterations int
		want       string
	}{
		{3, "p", 4096, "there is no SCRAM mechanism 3"},
		{image.ScramSHA256, "", 4096, "the password of u is empty"},
		{image.ScramSHA256, "p", 4095, "4095 iterations are not between 4096 and 16384"},
		{image.ScramSHA512, "p", 16385, "16385 iterations are not between 4096 and 16384"},
	} {
		if _, err := ScramFromPassword("u", c.mechanism, c.password, nil, c.iterations); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// FuzzParseAddScram: no argument panics, and what is accepted can be stored.
func FuzzParseAddScram(f *testing.F) {
	f.Add(`SCRAM-SHA-256=[name=alice,password=secret,iterations=4096,salt="MWx2NHBkbnc0ZndxN25vdGN4bTB5Y2k3"]`)
	f.Add(`SCRAM-SHA-512=[name="a",saltedpassword="abcd",salt=abcd]`)
	f.Fuzz(func(t *testing.T, arg string) {
		c, err := ParseAddScram(arg, strings.NewReader(strings.Repeat("s", saltBytes)))
		if err != nil {
			return
		}
		if c.User == "" || ScramMechanismName(c.Mechanism) == "" || c.Iterations < MinScramIterations || c.Iterations > MaxScramIterations ||
			len(c.StoredKey) == 0 || len(c.StoredKey) != len(c.ServerKey) {
			t.Fatalf("%q became %+v", arg, c)
		}
	})
}
