package core

import "kvorum/internal/planted"

// MayMake says whether an empty log may be made where there is none. Not by an image
// that no live quorum has confirmed: it may be old, and its ISR may count on records that
// were in a log which is not there (docs/design/0008-serving-without-quorum.md).
func MayMake(unconfirmed bool) bool { return !unconfirmed || planted.Is(planted.MakeUnconfirmed) }
