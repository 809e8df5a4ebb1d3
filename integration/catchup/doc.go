// Package catchup tests that an Apache broker that was off while the metadata
// log grew, or was cut by a snapshot, catches up from kvorum's controllers.
package catchup
