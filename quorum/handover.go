package quorum

// handover is how the loop gives work of one kind to whoever does it: what one step
// asks for at a time. The other side receives from steps, and closes done when it
// receives no more.
type handover[T any] struct {
	steps chan []T
	done  chan struct{}
}

// handoverQueue is how many steps' work may wait to be begun, which takes no time;
// the loop waits when it is full.
const handoverQueue = 64

func newHandover[T any]() handover[T] {
	return handover[T]{steps: make(chan []T, handoverQueue), done: make(chan struct{})}
}

// ask hands over the work of one step. Only the loop calls it.
func (h handover[T]) ask(work []T) {
	if len(work) == 0 {
		return
	}
	select {
	case h.steps <- work:
	case <-h.done:
	}
}
