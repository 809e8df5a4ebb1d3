package describe

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kvorum/metadatalog/image"
)

// TestACLFiltersAreApaches replays what Apache's filters matched.
func TestACLFiltersAreApaches(t *testing.T) {
	text, err := os.ReadFile("testdata/apache-acl-filters.txt")
	if err != nil {
		t.Fatal(err)
	}
	code := func(v any) int8 { return int8(v.(float64)) }
	optional := func(v any) *string {
		if s, ok := v.(string); ok {
			return &s
		}
		return nil
	}
	matched := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		var c struct {
			ACL, Filter []any
			Match       bool
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		a, f := c.ACL, c.Filter
		entry := &image.ACL{
			ResourceType: code(a[0]), ResourceName: a[1].(string), PatternType: code(a[2]),
			Principal: a[3].(string), Host: a[4].(string), Operation: code(a[5]), PermissionType: code(a[6]),
		}
		filter := ACLFilter{
			ResourceType: code(f[0]), ResourceName: optional(f[1]), PatternType: code(f[2]),
			Principal: optional(f[3]), Host: optional(f[4]), Operation: code(f[5]), PermissionType: code(f[6]),
		}
		if c.Match {
			matched++
		}
		if got := filter.Matches(entry); got != c.Match {
			t.Errorf("%s: got %v", line, got)
		}
	}
	if matched < 50 {
		t.Errorf("only %d cases match", matched)
	}
}
