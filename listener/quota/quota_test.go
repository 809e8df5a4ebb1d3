package quota

import (
	"bufio"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

var start = time.UnixMilli(1_700_000_000_000)

// TestRatesAreApaches compares every measure with those of Apache's own classes.
func TestRatesAreApaches(t *testing.T) {
	f, err := os.Open("testdata/rates.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var r rate
	var b bucket
	last, lines := -1, 0
	for scan := bufio.NewScanner(f); scan.Scan(); {
		var run, samples, length int
		var now int64
		var value, want, tokens float64
		var window int64
		if strings.HasPrefix(scan.Text(), "#") {
			continue
		}
		if _, err := fmt.Sscan(scan.Text(), &run, &samples, &length, &now, &value, &want, &window, &tokens); err != nil {
			t.Fatalf("%q: %v", scan.Text(), err)
		}
		if run != last {
			r, b, last = rate{}, bucket{}, run
		}
		w := Window{Samples: samples, Length: time.Duration(length) * time.Millisecond}
		r.record(w, value, now)
		b.spend(w, 500, value, now)
		got, gotWindow := r.measure(w, now)
		if math.Abs(got-want) > 1e-6 || gotWindow != window || math.Abs(b.refill(w, 500, now)-tokens) > 1e-6 {
			t.Fatalf("%q: rate %v over %d, %v tokens", scan.Text(), got, gotWindow, b.tokens)
		}
		lines++
	}
	if lines < 400 {
		t.Errorf("only %d lines", lines)
	}
}

// part is one part of an entity: type=name, or type= for the default.
func part(text string) record.QuotaEntity {
	kind, name, _ := strings.Cut(text, "=")
	e := record.QuotaEntity{EntityType: kind}
	if name != "" {
		e.EntityName = &name
	}
	return e
}

// limits builds an image of quotas "user=a client-id=b: key 5" and reads it.
func limits(t testing.TB, lines ...string) *Limits {
	t.Helper()
	d := image.NewDelta(image.Empty())
	for _, line := range lines {
		entity, quota, _ := strings.Cut(line, ": ")
		r := &record.ClientQuotaRecord{}
		for text := range strings.FieldsSeq(entity) {
			r.Entity = append(r.Entity, part(text))
		}
		if _, err := fmt.Sscan(quota, &r.Key, &r.Value); err != nil {
			t.Fatal(err)
		}
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	return FromImage(d.Apply(image.Position{}))
}

// Each quota that is taken away uncovers the next of Kafka's order.
func TestPrecedence(t *testing.T) {
	lines := []string{
		"user=u client-id=c: producer_byte_rate 1", "user=u client-id=: producer_byte_rate 2", "user=u: producer_byte_rate 3",
		"user= client-id=c: producer_byte_rate 4", "user= client-id=: producer_byte_rate 5", "user=: producer_byte_rate 6",
		"client-id=c: producer_byte_rate 7", "client-id=: producer_byte_rate 8",
	}
	owners := []owner{
		{byUser: true, byClient: true, user: "u", client: "c"}, {byUser: true, byClient: true, user: "u", client: "c"}, {byUser: true, user: "u"},
		{byUser: true, byClient: true, user: "u", client: "c"}, {byUser: true, byClient: true, user: "u", client: "c"}, {byUser: true, user: "u"},
		{byClient: true, client: "c"}, {byClient: true, client: "c"},
	}
	for i := range lines {
		l := limits(t, lines[i:]...)
		bound, o, ok := l.find(Produce, "u", "c")
		if !ok || bound != float64(i+1) || o != owners[i] {
			t.Errorf("of %v: %v for %+v", lines[i:], bound, o)
		}
		if _, _, ok := l.find(Fetch, "u", "c"); ok {
			t.Error("a quota of another kind was found")
		}
	}
	l := limits(t, lines[0], lines[2], lines[6])
	for client, want := range map[[2]string]float64{{"u", "c"}: 1, {"u", "d"}: 3, {"v", "c"}: 7, {"v", "d"}: 0} {
		if bound, _, _ := l.find(Produce, client[0], client[1]); bound != want {
			t.Errorf("%v: %v, want %v", client, bound, want)
		}
	}
}

// Who shares a quota shares its rate, and nobody else does.
func TestSharing(t *testing.T) {
	q := New(DefaultWindow)
	q.Publish(limits(t, "user=u: consumer_byte_rate 100", "client-id=: consumer_byte_rate 100"))
	if wait := q.Record(Fetch, "u", "c", 900, start); wait != 0 {
		t.Error("within the quota:", wait)
	}
	if wait := q.Record(Fetch, "u", "d", 900, start); wait == 0 {
		t.Error("another client id of the same user is not held")
	}
	if wait := q.Record(Fetch, "v", "c", 900, start); wait != 0 {
		t.Error("another user is held:", wait)
	}
	if wait := q.Record(Fetch, "w", "c", 900, start); wait == 0 {
		t.Error("the same client id of no user with a quota is not held")
	}
	if wait := q.Record(Produce, "u", "c", 1e9, start); wait != 0 {
		t.Error("no quota, but held:", wait)
	}
	if most, ok := q.Most(Fetch, "u", "x"); !ok || most != 1000 {
		t.Error(most, ok)
	}
	if _, ok := q.Most(Produce, "u", "x"); ok {
		t.Error("there is no quota")
	}
	if len(q.owners) != 2 {
		t.Errorf("%d rates are kept", len(q.owners))
	}
}

// Kafka's example: 10 times the quota in one go is paid off by silence.
func TestThrottleTimes(t *testing.T) {
	q := New(DefaultWindow)
	q.Publish(limits(t, "user=: producer_byte_rate 100", "user=: request_percentage 10", "user=: controller_mutation_rate 2"))
	if wait := q.Record(Produce, "u", "", 10_000, start); wait != 90*time.Second {
		t.Error(wait) // a rate of 1000 over 10 s
	}
	q.Undo(Produce, "u", "", 10_000, start)
	if wait := q.Record(Produce, "u", "", 1000, start); wait != 0 {
		t.Error("what was undone counts:", wait)
	}
	if wait := q.Record(RequestTime, "u", "", 100_000, start); wait != time.Second {
		t.Error("request time:", wait)
	}
	// 22 tokens: a strict request gets what it asks for as long as there are any.
	if wait, ok := q.Mutate("u", "", 26, true, start); wait != 0 || !ok {
		t.Error(wait, ok)
	}
	if wait, ok := q.Mutate("u", "", 1, true, start); wait != 2*time.Second || ok {
		t.Error(wait, ok)
	}
	if wait, ok := q.Mutate("u", "", 1, false, start); wait != 2500*time.Millisecond || !ok {
		t.Error(wait, ok)
	}
	if wait, ok := q.Mutate("u", "", 1, true, start.Add(2500*time.Millisecond)); wait != 0 || !ok {
		t.Error(wait, ok)
	}
}

func TestConnections(t *testing.T) {
	q := New(DefaultWindow)
	home, away := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")
	q.Publish(limits(t, "ip=127.0.0.1: connection_creation_rate 1", "ip=: connection_creation_rate 2"))
	for range 10 {
		if wait := q.Connect(home, start); wait != 0 {
			t.Error("within the quota:", wait)
		}
	}
	for range 3 {
		if wait := q.Connect(home, start); wait != time.Second {
			t.Error("beyond it:", wait)
		}
	}
	if wait := q.Connect(away, start); wait != 0 {
		t.Error("another address:", wait)
	}
	if wait := q.Connect(home, start.Add(12*time.Second)); wait != 0 {
		t.Error("what was refused counts:", wait)
	}
	m := Meter{Window: DefaultWindow, Bound: 1}
	for i := range 12 {
		if wait := m.Record(1, start); (wait > 0) != (i >= 10) {
			t.Error(i, wait)
		}
	}
}

func TestNoQuotas(t *testing.T) {
	var q *Quotas
	if q.Record(Produce, "", "", 1, start) != 0 || q.Connect(netip.Addr{}, start) != 0 {
		t.Error("nothing limits")
	}
	q.Undo(Produce, "", "", 1, start)
	if _, ok := q.Most(Fetch, "", ""); ok {
		t.Error("nothing bounds")
	}
	if wait, ok := q.Mutate("", "", 1e9, true, start); wait != 0 || !ok {
		t.Error("nothing refuses")
	}
}

// Whoever keeps silent for the time that he is told stays near his quota.
func TestSilencePays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Window{Samples: rapid.IntRange(2, 12).Draw(t, "samples"), Length: time.Duration(rapid.IntRange(100, 2000).Draw(t, "length")) * time.Millisecond}
		bound := rapid.Float64Range(1, 1e6).Draw(t, "bound")
		now, total, began := start.UnixMilli(), 0.0, start.UnixMilli()
		var r rate
		for range rapid.IntRange(1, 50).Draw(t, "requests") {
			now += rapid.Int64Range(0, 3000).Draw(t, "gap")
			value := rapid.Float64Range(0, 3*bound).Draw(t, "value")
			r.record(w, value, now)
			total += value
			now += r.throttle(w, bound, now).Milliseconds()
		}
		// Over all the time the client had no more than twice its rate and what one
		// window lets through: a window that slides by samples forgets a whole one at
		// once.
		if seconds := float64(now-began)/1000 + float64(w.Samples)*w.Length.Seconds(); total > 2*bound*seconds+3*bound {
			t.Fatalf("%v in %v s at a bound of %v", total, seconds, bound)
		}
		if len(r.samples) > w.Samples+1 {
			t.Fatalf("%d samples", len(r.samples))
		}
	})
}

// A peer that invents client ids does not grow what is kept.
func TestOwnersAreBounded(t *testing.T) {
	q := New(DefaultWindow)
	q.Publish(limits(t, "client-id=: producer_byte_rate 100"))
	for i := range 3 * maxOwners {
		q.Record(Produce, "u", fmt.Sprint(i), 1, start)
	}
	if len(q.owners) > maxOwners {
		t.Errorf("%d rates are kept", len(q.owners))
	}
	for i := range 100 {
		q.Record(Produce, "u", fmt.Sprint("later", i), 1, start.Add(time.Hour))
	}
	if len(q.owners) > maxOwners/2 {
		t.Errorf("%d rates are kept though all but a few are idle", len(q.owners))
	}
}

func TestConcurrentUse(t *testing.T) {
	q := New(DefaultWindow)
	l := limits(t, "user=: producer_byte_rate 100")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				q.Publish(l)
				q.Record(Produce, fmt.Sprint(i%7), "c", 10, start)
				q.Mutate("u", "c", 1, true, start)
			}
		})
	}
	wg.Wait()
}

func BenchmarkRecord(b *testing.B) {
	for name, l := range map[string]*Limits{"none": limits(b), "user": limits(b, "user=u: producer_byte_rate 1e12"), "default client": limits(b, "client-id=: producer_byte_rate 1e12")} {
		b.Run(name, func(b *testing.B) {
			q := New(DefaultWindow)
			q.Publish(l)
			b.ReportAllocs()
			now := start
			for b.Loop() {
				now = now.Add(time.Millisecond)
				q.Record(Produce, "u", "c", 1000, now)
			}
		})
	}
}
