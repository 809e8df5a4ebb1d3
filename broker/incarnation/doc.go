// Package incarnation decides as whom a broker starts: whether it goes on as the
// incarnation that it was before its process ended, with that one's broker epoch,
// and whether it may serve from its last metadata image while no controller lives.
//
// broker/storage finds what the log directories remember (Memory), and the broker
// gives it to Begin with its start; Start.Serves takes the last image of the
// metadata log. The simulator starts its brokers by the same rules. Pure.
//
// docs/design/0008-serving-without-quorum.md says why each rule is needed.
package incarnation
