package security

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// plainly answers by looking at every entry, with the rules written out the
// long way: the oracle for Authorize.
func plainly(r Rules, entries []*image.ACL, q Question) bool {
	if _, super := r.superUsers[q.Principal]; super {
		return true
	}
	implied := map[int8][]int8{8: {8, 3, 4, 6, 7}, 10: {10, 11}}
	spoken, allowed := false, false
	for _, e := range entries {
		literal := e.PatternType == 3 && (e.ResourceName == q.Resource || e.ResourceName == "*")
		prefixed := e.PatternType == 4 && strings.HasPrefix(q.Resource, e.ResourceName)
		if e.ResourceType != q.ResourceType || !literal && !prefixed {
			continue
		}
		spoken = true
		who := e.Principal == "User:*" || e.Principal == q.Principal
		where := e.Host == "*" || e.Host == q.Host
		if !who || !where {
			continue
		}
		if e.PermissionType == 2 && (e.Operation == 2 || e.Operation == q.Operation) {
			return false
		}
		if e.PermissionType == 3 && (e.Operation == 2 || e.Operation == q.Operation || slices.Contains(implied[q.Operation], e.Operation)) {
			allowed = true
		}
	}
	return allowed || !spoken && r.everyone
}

func drawEntry(t *rapid.T, id int) *image.ACL {
	pick := func(what string, codes ...int8) int8 { return rapid.SampledFrom(codes).Draw(t, what) }
	return &image.ACL{
		ID: kafka.UUID{byte(id >> 8), byte(id)}, ResourceType: pick("type", 2, 2, 3), ResourceName: drawName(t), PatternType: pick("pattern", 3, 4),
		Principal: rapid.SampledFrom([]string{"User:a", "User:*", "User:b"}).Draw(t, "principal"),
		Host:      rapid.SampledFrom([]string{"*", "h"}).Draw(t, "host"),
		Operation: pick("operation", 2, 3, 4, 6, 7, 8, 10, 11), PermissionType: pick("permission", 2, 3, 3),
	}
}

func drawName(t *rapid.T) string {
	return rapid.StringMatching(`\*|[ab*]{1,4}`).Draw(t, "name")
}

// TestAuthorizeAgainstThePlainRules also takes the entries through changes, as
// publishers do, and looks that the values from before are as they were.
func TestAuthorizeAgainstThePlainRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := NewRules([]string{"User:root"}, rapid.Bool().Draw(t, "everyone"))
		var entries []*image.ACL
		acls := NewACLs(slices.Values(entries))
		id := 0
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			before, frozen := slices.Clone(entries), acls
			var changes []image.Change[image.ACL]
			for range rapid.IntRange(0, 6).Draw(t, "added") {
				id++
				e := drawEntry(t, id)
				entries = append(entries, e)
				changes = append(changes, image.Change[image.ACL]{New: e})
			}
			if len(before) > 0 && rapid.Bool().Draw(t, "remove") {
				changes = append(changes, image.Change[image.ACL]{Old: entries[0]})
				entries = entries[1:]
			}
			acls = acls.Next(slices.Values(changes))
			if acls.Len() != len(entries) || frozen.Len() != len(before) {
				t.Fatalf("%d entries of %d, %d before of %d", acls.Len(), len(entries), frozen.Len(), len(before))
			}
			for range 8 {
				q := Question{
					Principal: rapid.SampledFrom([]string{"User:a", "User:b", "User:c", "User:root"}).Draw(t, "who"),
					Host:      rapid.SampledFrom([]string{"h", "i"}).Draw(t, "from"),
					Operation: rapid.SampledFrom([]int8{3, 4, 6, 7, 8, 10, 11}).Draw(t, "what"), ResourceType: 2, Resource: drawName(t),
				}
				answer := rules.Authorize(acls, q)
				if want := plainly(rules, entries, q); answer.Allowed != want {
					t.Fatalf("%+v: %+v, plainly %v", q, answer, want)
				}
				if answer.By != nil && !slices.Contains(entries, answer.By) {
					t.Fatalf("%+v: decided by %+v, which is no entry", q, answer.By)
				}
				if got, want := rules.Authorize(frozen, q).Allowed, plainly(rules, before, q); got != want {
					t.Fatalf("%+v on the entries before the change: %v, plainly %v", q, got, want)
				}
			}
		}
	})
}

func TestParsePrincipal(t *testing.T) {
	p, err := ParsePrincipal("User:CN=a:b")
	if err != nil || p != (Principal{"User", "CN=a:b"}) || p.String() != "User:CN=a:b" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := ParsePrincipal("alice"); err == nil {
		t.Error("a principal without a type was taken")
	}
}

// BenchmarkAuthorize asks about one topic among 10,000 with entries.
func BenchmarkAuthorize(b *testing.B) {
	var entries []*image.ACL
	for i := range 10_000 {
		entries = append(entries, &image.ACL{
			ID: kafka.UUID{byte(i >> 8), byte(i)}, ResourceType: 2, ResourceName: fmt.Sprintf("topic-%05d", i), PatternType: 3,
			Principal: "User:a", Host: "*", Operation: 3, PermissionType: 3,
		})
	}
	acls, rules := NewACLs(slices.Values(entries)), NewRules(nil, false)
	q := Question{Principal: "User:a", Host: "127.0.0.1", Operation: 8, ResourceType: 2, Resource: "topic-05000"}
	b.ReportAllocs()
	for b.Loop() {
		if !rules.Authorize(acls, q).Allowed {
			b.Fatal("denied")
		}
	}
}
