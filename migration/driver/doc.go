// Package driver decides what a migration from ZooKeeper (KIP-866) does next. It is
// pure: events go in, effects come out, and the active controller's shell carries
// them out, one at a time, and answers with what it then saw.
//
// What survives a controller is in two places: ZkMigrationState in the metadata log,
// and /migration with /controller in ZooKeeper. A new leader's driver starts from
// those alone, so it does not matter where its predecessor died. The order of writes
// makes that so:
//
//  1. /controller and /migration name us (one claim, before anything is read);
//  2. the copy, one metadata transaction, whose end also says MIGRATION in the log;
//  3. /migration gets an offset, with the first image that is in ZooKeeper.
//
// The states are those of Apache's KRaftMigrationDriver (3.9), without UNINITIALIZED
// (a driver is made when it is first needed) and KRAFT_CONTROLLER_TO_BROKER_COMM
// (requests are handed to zkbroker.Sender, which never makes the driver wait).
package driver
