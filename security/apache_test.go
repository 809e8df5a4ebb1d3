package security

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// cases reads a file of one JSON object a line.
func cases[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []T
	s := bufio.NewScanner(f)
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		var c T
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

type world struct {
	Super         string
	Allow         bool
	ACLs          [][]any
	Checks, Types [][]any
}

func code(v any) int8 { return int8(v.(float64)) }

func (w world) entries() []*image.ACL {
	var entries []*image.ACL
	for i, a := range w.ACLs {
		entries = append(entries, &image.ACL{
			ID: kafka.UUID{byte(i + 1)}, ResourceType: code(a[0]), ResourceName: a[1].(string), PatternType: code(a[2]),
			Principal: a[3].(string), Host: a[4].(string), Operation: code(a[5]), PermissionType: code(a[6]),
		})
	}
	return entries
}

func (w world) rules() Rules {
	return NewRules(strings.Split(w.Super, ";"), w.Allow)
}

// TestAuthorizeIsApaches replays what Apache's authorizer decided.
func TestAuthorizeIsApaches(t *testing.T) {
	yes, no := 0, 0
	for i, w := range cases[world](t, "apache-authorizer.txt") {
		acls, rules := NewACLs(slices.Values(w.entries())), w.rules()
		for _, c := range w.Checks {
			q := Question{Principal: c[0].(string), Host: c[1].(string), Operation: code(c[2]), ResourceType: code(c[3]), Resource: c[4].(string)}
			if len(q.Resource) > 1 && q.Resource[0] == '*' {
				continue // see ACLs.on
			}
			if got := rules.Authorize(acls, q); got.Allowed != c[5].(bool) {
				t.Errorf("world %d, %+v: got %+v\n%+v", i, q, got, w)
			}
		}
		for _, c := range w.Types {
			q := Question{Principal: c[0].(string), Host: c[1].(string), Operation: code(c[2]), ResourceType: code(c[3])}
			want := c[4].(bool)
			if want {
				yes++
			} else {
				no++
			}
			if got := rules.AuthorizeByResourceType(acls, q); got != want {
				t.Errorf("world %d, by type %+v: got %v\n%+v", i, q, got, w)
			}
		}
	}
	if yes < 100 || no < 100 {
		t.Errorf("only %d allowed and %d denied by type", yes, no)
	}
}

// TestAddScramIsApaches replays what Apache's parser made of arguments.
func TestAddScramIsApaches(t *testing.T) {
	stricter := map[string]string{
		`SCRAM-SHA-256=[name=,password=a]`: "You must supply 'name' to add-scram",
	}
	for _, c := range cases[struct {
		Arg, Name, Error, Class string
		Mechanism               image.ScramMechanism
		Iterations              int32
		Salt, Stored, Server    []byte
	}](t, "apache-4.3.1-add-scram.txt") {
		got, err := ParseAddScram(c.Arg, strings.NewReader(strings.Repeat("s", saltBytes)))
		want := c.Error
		if strings.Contains(c.Arg, "saltedpassword=") && strings.Contains(c.Arg, ",password=") {
			want = "You must supply only one of 'password' or 'saltedpassword' to add-scram"
		}
		if text, ok := stricter[c.Arg]; ok {
			want = text
		}
		if strings.Contains(c.Arg, `,password="mT0`) || strings.Contains(c.Arg, `,password=x]`) && strings.Contains(c.Arg, "saltedpassword") {
			want = "You must supply only one of 'password' or 'saltedpassword' to add-scram"
		}
		if c.Error == "Empty key" { // a Java exception that escapes
			want = "the password of alice is empty"
			if strings.Contains(c.Arg, "name=a,password") {
				want = "the password of a is empty"
			} else if strings.Contains(c.Arg, "salted") {
				want = "the salted password of a is empty"
			}
		}
		if text := ""; err != nil || want != "" {
			if err != nil {
				text = err.Error()
			}
			if text != want {
				t.Errorf("%s: error %q, want %q", c.Arg, text, want)
			}
			continue
		}
		if got.User != c.Name || got.Mechanism != c.Mechanism || got.Iterations != c.Iterations {
			t.Errorf("%s: got %+v", c.Arg, got)
		}
		if c.Salt == nil {
			if string(got.Salt) != strings.Repeat("s", saltBytes) {
				t.Errorf("%s: salt %q was not drawn", c.Arg, got.Salt)
			}
		} else if !bytes.Equal(got.Salt, c.Salt) || !bytes.Equal(got.StoredKey, c.Stored) || !bytes.Equal(got.ServerKey, c.Server) {
			t.Errorf("%s: got %+v", c.Arg, got)
		}
	}
}
