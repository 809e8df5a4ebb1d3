// Package replace tests that a controller whose disk is lost gets a new one: by
// the commands that an operator uses, on running processes.
package replace
