// Package admin is what an operator can do to a kvorum cluster, as a library;
// the command line is a thin face of it.
package admin
