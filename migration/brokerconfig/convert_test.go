package brokerconfig

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"kvorum/config"
	"kvorum/internal/kafka"
)

// TestConvert runs the scripts of testdata/convert: a file, what is said of it, and
// what becomes of it.
func TestConvert(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "convert"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			o := Options{ID: -1, Target: Target(d.Cmd)}
			text := d.Input
			for _, arg := range d.CmdArgs {
				switch value := strings.Join(arg.Vals, ","); arg.Key {
				case "controllers":
					o.Controllers = value
				case "allow":
					o.Allow = arg.Vals
				case "id":
					id, err := strconv.Atoi(value)
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					o.ID = kafka.BrokerID(id)
				case "file":
					text = read(t, value)
				default:
					d.Fatalf(t, "there is no argument %s", arg.Key)
				}
			}
			r, err := Convert(text, o)
			if err != nil {
				return err.Error() + "\n"
			}
			return told(r)
		})
	})
}

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// told is a result in lines; keys that stay as they are, are counted.
func told(r *Result) string {
	var b strings.Builder
	same := 0
	for _, n := range r.Notes {
		if n.Action == Kept && n.Why == "" {
			same++
			continue
		}
		allow := ""
		if n.Allowable {
			allow = " [--allow]"
		}
		fmt.Fprintf(&b, "%d %s %s %q -> %q: %s%s\n", n.Line, n.Action, n.Key, n.From, n.To, n.Why, allow)
	}
	fmt.Fprintf(&b, "%d stay\n", same)
	if r.Text != "" {
		b.WriteString("---\n" + strings.ReplaceAll(r.Text, "\r", `\r`))
	}
	return b.String()
}

// FuzzConvert: whatever the text, what is written says what the notes say, and holds
// every comment; converting it again changes nothing more.
func FuzzConvert(f *testing.F) {
	f.Add(read(f, "zookeeper.properties"))
	f.Add("broker.id=1\nzookeeper.connect=a\\")
	f.Add("# c\\\r\nbroker.id : 1\r\nzookeeper.connect=a\\\r\n")
	f.Add("broker.id=1\rzookeeper.connect=\\u00e9\\ \\\n b")
	f.Fuzz(func(t *testing.T, text string) {
		for _, target := range Targets {
			o := Options{Target: target, ID: -1, Controllers: "3001@c:9093", Allow: []string{"*"}}
			r, err := Convert(text, o)
			if err != nil || len(r.Refused()) > 0 {
				continue
			}
			got, err := config.Parse(r.Text)
			if err != nil {
				t.Fatalf("%s: %v\n%s", target, err, r.Text)
			}
			want := map[string]string{}
			for _, n := range r.Notes {
				if n.Action != Dropped {
					want[n.Key] = n.value
				}
			}
			if !maps.Equal(got.Map(), want) {
				t.Errorf("%s: the notes say %q, the text %q", target, want, got.Map())
			}
			again, err := Convert(r.Text, o)
			if err != nil || again.Text != r.Text {
				t.Errorf("%s: a second time gives %v\n%s\nafter\n%s", target, err, again.Text, r.Text)
			}
		}
	})
}

// TestSecretsAreHidden: no note shows a password.
func TestSecretsAreHidden(t *testing.T) {
	const text = "broker.id=1\nzookeeper.connect=z\npassword.encoder.secret=hush\nlistener.name.x.sasl.jaas.config=hush\nssl.keystore.password=hush\nmy.plugin.Token=hush\ndelegation.token.master.key=hush\n"
	for _, target := range Targets {
		r, err := Convert(text, Options{Target: target, ID: -1, Controllers: "c:9093", Allow: []string{"*"}})
		if err != nil || len(r.Refused()) > 0 {
			t.Fatal(err, r.Refused())
		}
		for _, n := range r.Notes {
			if strings.Contains(n.From+n.To+n.Why, "hush") {
				t.Errorf("%s: %+v", target, n)
			}
		}
	}
}

// TestMistakes: options that mean nothing are errors.
func TestMistakes(t *testing.T) {
	for want, o := range map[string]Options{
		"there is no target": {Target: "zookeeper"},
		"the controllers":    {Target: Kvorum, Controllers: "3001@c"},
		"a:b:c":              {Target: Kvorum, Controllers: "a:b:c"},
	} {
		if _, err := Convert("a=b", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %s", o, err, want)
		}
	}
	if _, err := Convert("a=1\na=2", Options{Target: Kvorum}); err == nil {
		t.Error("a key that comes twice")
	}
}
