// Package catchup tests that a broker, of Apache's make or of kvorum's, that was off
// while the metadata log grew, or was cut by a snapshot, catches up from kvorum's
// controllers, and that kvorum's starts from its own snapshot, or without any
// metadata of its own.
package catchup
