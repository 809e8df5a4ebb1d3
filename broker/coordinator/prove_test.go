package coordinator

import (
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// TestUnconfirmedCoordinatorProvesItself: on an image that nobody has confirmed
// nothing is told of a group before a record of this coordinator is committed, also
// not what was committed before.
func TestUnconfirmedCoordinatorProvesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		if code := g.commit("g", "t", 0, 7); code != errors.None {
			t.Fatal(code)
		}
		_, before := m.count()

		m.hold(true) // its followers follow somebody else
		l := m.lead()
		g.ElectUnconfirmed(0, l.led, l)
		synctest.Wait()
		if at, code := g.fetched("g", "t", 0, false); code != errors.CoordinatorLoadInProgress {
			t.Errorf("a coordinator that has proven nothing gives out offset %d, %v", at, code)
		}
		if code := g.commit("g", "t", 0, 8); code != errors.CoordinatorLoadInProgress {
			t.Errorf("and takes a commit: %v", code)
		}
		if _, records := m.count(); records != before+1 {
			t.Errorf("it has written %d records to show that it leads, and not one", records-before)
		}

		m.hold(false)
		synctest.Wait()
		if at, code := g.fetched("g", "t", 0, false); at != 7 || code != errors.None {
			t.Errorf("after its record was committed: offset %d, %v", at, code)
		}
		if code := g.commit("g", "t", 0, 8); code != errors.None {
			t.Error(code)
		}
		if groups := g.ListGroups(t.Context(), kmsg.NewPtrListGroupsRequest()).Groups; len(groups) != 1 {
			t.Errorf("the record that means nothing made a group: %+v", groups)
		}
	})
}
