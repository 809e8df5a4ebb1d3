package broker

import (
	"slices"
	"testing"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol"
)

// TestFeaturesKRaftVersion: kraft.version is in no image; a broker alone says what
// the control records of the log say, one in a controller's process what that does.
func TestFeaturesKRaftVersion(t *testing.T) {
	alone := &Broker{publisher: new(publisher), fetcher: new(fetcher)}
	alone.publisher.image.Store(image.Empty())
	want := protocol.FinalizedFeature{Name: image.FeatureKRaftVersion, Level: 1}
	if slices.Contains(alone.Features().Finalized, want) {
		t.Error("the level is known before it was read")
	}
	alone.fetcher.observe(1, 1, &record.KRaftVersion{KRaftVersion: 1})
	combined := &Broker{publisher: new(publisher), cfg: Config{KRaftVersion: func() int16 { return 1 }}}
	combined.publisher.image.Store(image.Empty())
	for _, b := range []*Broker{alone, combined} {
		if got := b.Features().Finalized; !slices.Contains(got, want) {
			t.Errorf("finalized are %v, without %v", got, want)
		}
	}
}
