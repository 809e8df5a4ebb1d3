package listener

import (
	"context"
	"testing"
)

func TestBudgetLanes(t *testing.T) {
	b := NewBudget(MinBudget)
	p := &b.frames
	ctx := context.Background()
	done, cancel := context.WithCancel(ctx)
	cancel()
	take := func(ctx context.Context, n int64) (lease, bool) {
		l, err := p.acquire(ctx, n)
		return l, err == nil
	}

	whole, ok := take(ctx, p.max)
	if !ok {
		t.Fatal("the largest request does not get in")
	}
	if _, ok := take(done, smallFrame+1); ok {
		t.Error("a second large request got in")
	}
	var small []lease
	for {
		l, ok := take(done, smallFrame)
		if !ok {
			break
		}
		small = append(small, l)
	}
	if want := MinBudget / 2 / 8 / smallFrame; len(small) != want {
		t.Errorf("%d small requests beside a large one, not %d", len(small), want)
	}
	whole.release()
	l, ok := take(done, smallFrame)
	if !ok {
		t.Fatal("a small request waits though there is room")
	}
	small = append(small, l)
	if _, ok := take(done, p.max); ok {
		t.Error("more than the budget got in")
	}
	for _, l := range small {
		l.release()
	}
	if frames, decoded := b.InUse(); frames != 0 || decoded != 0 {
		t.Errorf("%d, %d bytes are left", frames, decoded)
	}
	again, ok := take(ctx, p.max)
	if !ok {
		t.Fatal("bytes were lost")
	}
	again.release()
	defer func() {
		if recover() == nil {
			t.Error("a budget below the least was taken")
		}
	}()
	NewBudget(MinBudget - 1)
}
