package image

import (
	"cmp"
	"strings"
)

// The orders of the tables whose keys are structs. Images iterate in these
// orders, so they decide the order of the records in a snapshot.

func compareResources(a, b Resource) int {
	if c := cmp.Compare(a.Type, b.Type); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// scramKey identifies a credential.
type scramKey struct {
	mechanism ScramMechanism
	user      string
}

func compareScramKeys(a, b scramKey) int {
	if c := cmp.Compare(a.mechanism, b.mechanism); c != 0 {
		return c
	}
	return strings.Compare(a.user, b.user)
}

func compareEntities(a, b QuotaEntity) int {
	if c := compareQuotaNames(a.User, b.User); c != 0 {
		return c
	}
	if c := compareQuotaNames(a.ClientID, b.ClientID); c != 0 {
		return c
	}
	return compareQuotaNames(a.IP, b.IP)
}

// compareQuotaNames puts an absent part first, then the default, then names.
func compareQuotaNames(a, b QuotaName) int {
	if c := cmp.Compare(a.rank(), b.rank()); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func (n QuotaName) rank() int {
	switch {
	case !n.Set:
		return 0
	case n.Default:
		return 1
	}
	return 2
}
