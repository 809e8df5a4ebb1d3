package kafka

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"testing"
)

func TestUUIDText(t *testing.T) {
	// The names that Kafka 3.9.2's own classes print.
	for want, u := range map[string]UUID{
		"AAAAAAAAAAAAAAAAAAAAAA": DirectoryMigrating,
		"AAAAAAAAAAAAAAAAAAAAAQ": DirectoryUnassigned,
		"AAAAAAAAAAAAAAAAAAAAAg": DirectoryLost,
	} {
		if got := u.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
		back, err := ParseUUID(want + "==")
		if err != nil || back != u {
			t.Errorf("ParseUUID(%q) = %v, %v", want, back, err)
		}
		if !u.Reserved() {
			t.Errorf("%v is not reserved", u)
		}
	}
	if (UUID{15: 100}).Reserved() {
		t.Error("the id with low half 100 is reserved")
	}
	for _, bad := range []string{"", "AA", "AAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA+A"} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("ParseUUID(%q) succeeded", bad)
		}
	}
}

func TestRandomUUID(t *testing.T) {
	seen := map[UUID]bool{}
	for range 1000 {
		u, err := RandomUUID(rand.Reader)
		if err != nil || u.Reserved() || u.String()[0] == '-' || seen[u] {
			t.Fatalf("RandomUUID() = %v, %v", u, err)
		}
		seen[u] = true
	}
	if _, err := RandomUUID(bytes.NewReader(nil)); err == nil {
		t.Error("RandomUUID without randomness succeeded")
	}
}

func TestUUIDJSONAndOrder(t *testing.T) {
	u := UUID{1}
	text, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var back UUID
	if err := json.Unmarshal(text, &back); err != nil || back != u {
		t.Fatalf("%s read back as %v, %v", text, back, err)
	}
	if err := json.Unmarshal([]byte(`"x"`), &back); err == nil {
		t.Error("a bad id was read")
	}
	if u.Compare(UUID{2}) >= 0 || u.Compare(u) != 0 || (UUID{2}).Compare(u) <= 0 {
		t.Error("Compare does not order by bytes")
	}
}

func TestTopicPartition(t *testing.T) {
	if got := (TopicPartition{Topic: "a-b", Partition: 12}).String(); got != "a-b-12" {
		t.Errorf("the name is %q", got)
	}
}
