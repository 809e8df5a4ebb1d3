// Package fetchsession remembers which partitions a client fetches, so that a
// Fetch names only what has changed since the last one and is answered only with
// what has changed since the last answer (KIP-227, Apache's FetchSession).
//
// It stands between the Fetch handler and replica.Partitions: the handler begins
// a fetch with what the request said, reads the partitions that come out, and
// ends it with what was read. It reads no clock.
//
// A cache is bounded twice: by its slots, for which sessions compete by Apache's
// rules of eviction, and by the partitions of all sessions together.
package fetchsession
