// Package tools runs one story of Apache's command line tools on a single node of
// Apache's and on one of kvorum's, and compares what they print, ids, rates and
// times apart. What Apache's node led to is kept in testdata; where kvorum's node
// leads to something else, the list of differences says what and why.
package tools
