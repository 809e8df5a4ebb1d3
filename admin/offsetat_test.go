package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func TestParseSpan(t *testing.T) {
	now := time.UnixMilli(1_000_000_000_000)
	for text, want := range map[string]string{
		"start":                      "{{0 0} <nil>}",
		"end":                        "{{1 0} <nil>}",
		"7":                          "{{2 7} <nil>}",
		"+7":                         "{{0 7} <nil>}",
		"-7":                         "{{1 7} <nil>}",
		"@5":                         "{{3 5} <nil>}",
		"@-1h":                       "{{3 999996400000} <nil>}",
		"@2001-09-09":                "{{3 999993600000} <nil>}",
		"@2001-09-09T01:46:40Z":      "{{3 1000000000000} <nil>}",
		"@2001-09-09T01:46":          "{{3 999999960000} <nil>}",
		":end":                       "{{0 0} {1 0}}",
		"5:-1":                       "{{2 5} {1 1}}",
		"@2001-09-09T01:46:@-1m":     "{{3 999999960000} {3 999999940000}}",
		"@2001-09-09T01:46:40Z:end":  "{{3 1000000000000} {1 0}}",
		"soon":                       "no offset",
		"5:":                         "no offset",
		"":                           "no offset",
		"@soon":                      "no time",
		"99999999999999999999999999": "no offset",
	} {
		span, err := ParseSpan(text, now)
		got := fmt.Sprintf("{%v <nil>}", span.From)
		if span.To != nil {
			got = fmt.Sprintf("{%v %v}", span.From, *span.To)
		}
		if err != nil {
			got = err.Error()
		}
		if !contains(got, want) {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
