package controller

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

func names(records []record.Message) (out []string) {
	for _, m := range records {
		out = append(out, strings.TrimSuffix(m.Record.RecordName(), "Record"))
	}
	return out
}

func TestActivate(t *testing.T) {
	credential := []*record.UserScramCredentialRecord{{Name: "admin", Mechanism: 1, Iterations: 4096}}
	tests := []struct {
		name     string
		logLevel image.MetadataVersion // 0: the log is empty
		level    image.MetadataVersion
		open     bool
		want     string // records, or what the error says
		atomic   bool
	}{
		{"new at 3.3", 0, 7, false, "FeatureLevel UserScramCredential", true},
		{"new at 3.5", 0, 12, false, "FeatureLevel UserScramCredential", true},
		{"new at 3.6", 0, 13, false, "BeginTransaction FeatureLevel UserScramCredential ZkMigrationState EndTransaction", false},
		{"new at 3.9", 0, 21, false, "BeginTransaction FeatureLevel UserScramCredential ZkMigrationState EndTransaction", false},
		{"new at 4.0-IV0", 0, 22, false, "BeginTransaction FeatureLevel FeatureLevel UserScramCredential EndTransaction", false},
		{"new at 4.3", 0, 30, false, "BeginTransaction FeatureLevel FeatureLevel FeatureLevel FeatureLevel FeatureLevel FeatureLevel UserScramCredential Config EndTransaction", false},
		{"the last controller died while it bootstrapped", 0, 21, true, "AbortTransaction BeginTransaction FeatureLevel UserScramCredential ZkMigrationState EndTransaction", false},
		{"open transaction before there were any", 0, 12, true, "has no transactions", false},
		{"not formatted", 0, 0, false, "format the metadata directory again", false},
		{"formatted below what runs", 0, 6, false, "format with another release version", false},
		{"formatted above what runs", 0, 31, false, "format with another release version", false},
		{"failover", 21, 0, false, "", true},
		{"failover in a transaction", 13, 0, true, "AbortTransaction", true},
		{"failover in a transaction before there were any", 12, 0, true, "has no transactions", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Image: image.Empty(), Settings: &Settings{}}
			if test.logLevel > 0 {
				in = newWorld(t, test.logLevel, nil).in
			}
			var bootstrap []record.Message
			if test.level > 0 {
				bootstrap = BootstrapRecords(test.level, DefaultFeatures(test.level), credential)
			}
			d, _, err := Activate(in, bootstrap, test.open)
			if err != nil {
				if test.want == "" || !strings.Contains(err.Error(), test.want) || d.Records != nil {
					t.Errorf("%v", err)
				}
				return
			}
			if got := strings.Join(names(d.Records), " "); got != test.want || d.Atomic != test.atomic {
				t.Errorf("wrote %s, atomic=%v", got, d.Atomic)
			}
		})
	}
}

func TestBootstrapTakesMinISRFromTheFile(t *testing.T) {
	for static, want := range map[string]string{"": "1", "2": "2", " 3 ": "3", "x": "1"} {
		in := Input{Image: image.Empty(), Settings: &Settings{Static: map[string]string{"min.insync.replicas": static}}}
		d, _, err := Activate(in, BootstrapRecords(30, DefaultFeatures(30), nil), false)
		if err != nil {
			t.Fatal(err)
		}
		configs := recordsNamed(d, "ConfigRecord")
		if r := configs[0].(*record.ConfigRecord); len(configs) != 1 || *r.Value != want || r.ResourceName != "" || r.ResourceType != 4 {
			t.Errorf("%q: %+v", static, r)
		}
	}
}

func TestDefaultFeatures(t *testing.T) {
	for level, want := range map[image.MetadataVersion]string{
		21: "", 22: "group.version", 24: "group.version transaction.version",
		26: "eligible.leader.replicas.version group.version transaction.version",
		30: "eligible.leader.replicas.version group.version share.version streams.version transaction.version",
	} {
		features := DefaultFeatures(level)
		if got := strings.Join(slices.Sorted(maps.Keys(features)), " "); got != want {
			t.Errorf("%s: %s", level, got)
		}
		for _, f := range image.SupportedFeatures() {
			if features[f.Name] > f.MaxSupportedVersion {
				t.Errorf("%s: %s %d is not supported", level, f.Name, features[f.Name])
			}
		}
	}
	if !slices.IsSortedFunc(image.SupportedFeatures(), func(a, b image.FeatureRange) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("supported features are not sorted by name")
	}
}

func TestNewBootstrap(t *testing.T) {
	scram := []*record.UserScramCredentialRecord{{Name: "a", Mechanism: 1}}
	records, err := NewBootstrap(30, nil, scram)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range records {
		if f, ok := m.Record.(*record.FeatureLevelRecord); ok {
			names = append(names, f.Name)
		} else {
			names = append(names, m.Record.RecordName())
		}
	}
	// The order in which Apache 4.3.1 formats, and its defaults.
	want := "metadata.version eligible.leader.replicas.version group.version share.version streams.version transaction.version UserScramCredentialRecord"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("bootstrap is %q, want %q", got, want)
	}
	for _, test := range []struct {
		level    image.MetadataVersion
		features map[string]int16
		scram    []*record.UserScramCredentialRecord
		want     string
	}{
		{3, nil, nil, "between"},
		{31, nil, nil, "between"},
		{30, map[string]int16{"x": 1}, nil, "unknown"},
		{30, map[string]int16{image.FeatureMetadataVersion: 7}, nil, "unknown"},
		{30, map[string]int16{image.FeatureGroupVersion: 7}, nil, "between 0 and 1"},
		{30, map[string]int16{image.FeatureGroupVersion: -1}, nil, "between 0 and 1"},
		{30, map[string]int16{image.FeatureKRaftVersion: 0}, nil, "kraft.version"},
		{7, nil, scram, "SCRAM"},
	} {
		if _, err := NewBootstrap(test.level, test.features, test.scram); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("NewBootstrap(%d, %v) = %v, want an error with %q", test.level, test.features, err, test.want)
		}
	}
	if records, err := NewBootstrap(30, map[string]int16{image.FeatureGroupVersion: 0, image.FeatureKRaftVersion: 1}, nil); err != nil || len(records) != 5 {
		t.Errorf("NewBootstrap without group.version = %v, %v, want five records", records, err)
	}
}
