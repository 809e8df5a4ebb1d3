package config

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestParseReadsAsJavaDoes(t *testing.T) {
	for _, line := range lines(t, "java-properties.txt") {
		var c struct {
			Text, Error string
			Props       map[string]string
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		got, err := Parse(c.Text)
		if (err != nil) != (c.Error != "") {
			t.Errorf("%s: error %v", line, err)
		}
		if err == nil && !maps.Equal(got.Map(), c.Props) {
			t.Errorf("%s: got %q", line, got.Map())
		}
	}
}

func TestParseRefusesWhatNobodyMeans(t *testing.T) {
	for text, want := range map[string]string{
		"a=1\n# c\nb=2\n\n a : 3": "line 5: a is set a second time (first on line 1); remove one of them",
		"\n=b":                    "line 2: a value without a name",
		"a=\\u12":                 `line 1: \u is not followed by four hexadecimal digits`,
		"a=\xff":                  "the properties are not UTF-8 text",
		strings.Repeat("#", maxPropertiesBytes+1): "the properties are 1048577 bytes long; at most 1048576 are read",
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%.40q: error %v, want %s", text, err, want)
		}
	}
}

func TestParseCountsContinuedLines(t *testing.T) {
	p, err := Parse("a=1\\\n2\\\n3\nb=4")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Property{Name: "b", Value: "4", Line: 4, Last: 4}); p[1] != want || p[0].Line != 1 || p[0].Last != 3 {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if v, ok := p.Get("a"); !ok || v != "123" {
		t.Errorf("a is %q", v)
	}
}

// FuzzParse: no text panics, and what was read means the same when it is
// written plainly and read again.
func FuzzParse(f *testing.F) {
	f.Add("a=b\\\n  c\n#d\ne\\u0041 = f\\")
	f.Add("process.roles=controller\nnode.id=1\nlisteners=C://:1\ncontroller.listener.names=C")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		_, _ = ParseNode(p)
		var b strings.Builder
		escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, " ", `\ `, "=", `\=`, ":", `\:`, "#", `\#`, "!", `\!`)
		for _, property := range p {
			b.WriteString(escape.Replace(property.Name) + "=" + escape.Replace(property.Value) + "\n")
		}
		if b.Len() > maxPropertiesBytes {
			return
		}
		again, err := Parse(b.String())
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(p.Map(), again.Map()) {
			t.Fatalf("%q became %q", p.Map(), again.Map())
		}
	})
}

// FuzzValue: no value of any key panics, and an accepted one is accepted again
// as it is written.
func FuzzValue(f *testing.F) {
	f.Add("retention.ms", "-1")
	f.Add("min.cleanable.dirty.ratio", "0x1p-1d")
	f.Add("cleanup.policy", "compact, delete")
	f.Add("share.auto.offset.reset", "by_duration:P1DT2H")
	f.Add("match", "client_id=a{2")
	f.Add("controller.quorum.voters", "1@[::1]:9093")
	f.Fuzz(func(t *testing.T, name, text string) {
		_ = ValidateTopic(map[string]string{name: text}, Layers{})
		_ = ValidateGroup(map[string]string{name: text}, Layers{})
		_ = ValidateClientMetrics("s", map[string]string{name: text})
		_ = ValidateBroker(ScopeCluster, map[string]string{name: text})
		for _, scope := range []Scope{ScopeNode, ScopeTopic, ScopeGroup, ScopeClientMetrics} {
			k, ok := Lookup(scope, name)
			if !ok {
				continue
			}
			v, err := k.Parse(text)
			if err != nil {
				continue
			}
			again, err := k.Parse(v.String())
			if err != nil || again.String() != v.String() {
				t.Fatalf("%s=%q became %q: %v", name, text, v, err)
			}
		}
	})
}
