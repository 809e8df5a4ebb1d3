// Package run carries a migration from ZooKeeper out (KIP-866): it is the shell of
// migration/driver on each controller. The quorum tells it who leads and what is
// committed, and commits what it appends; migration/zk, convert, mirror and zkbroker
// do what the driver asks for.
//
// There are two goroutines. The loop owns the driver: events come to it through an
// inbox of the newest leadership and the newest image, so that nobody who tells it
// something waits. Each leadership has a goroutine of its own (term) that owns the
// session with ZooKeeper and the connections to brokers, and does one action after
// the other; it waits for the end of the one before it. When the leadership ends, so
// does what is under way: an action that is broken off is never answered.
//
// Nothing is kept here that a crash could lose: the next leader's driver begins with
// the metadata log and ZooKeeper.
package run
