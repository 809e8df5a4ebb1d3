// Package clients lets the clients of other people talk to one node: each creates
// a topic, writes records with every codec it has by an idempotent producer, reads
// them back in a group and commits; then each reads what the others wrote. The
// node is kvorum's, or Apache's, to prove the programs.
//
// Clients that are not written in Go or Java are fetched once into the user's
// cache directory, or skipped with one line where that cannot be.
package clients
