package invariant

import "testing"

func TestCheck(t *testing.T) {
	Check(true, "not reached %d", 1)
	defer func() {
		if got := recover(); got != "broken invariant: end 3 is before start 7" {
			t.Errorf("panicked with %v", got)
		}
	}()
	Check(false, "end %d is before start %d", 3, 7)
	t.Error("a broken invariant did not panic")
}
