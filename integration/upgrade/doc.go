// Package upgrade rolls a quorum from the previous commit's binary to this
// tree's, one controller at a time, under load, and checks that everything that
// was acknowledged is there afterwards, the same on every controller.
package upgrade
