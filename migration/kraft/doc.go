// Package kraft is how a cluster whose controllers are Apache's own (KRaft) comes to
// kvorum's, and back: what would be done and what stands in the way (NewPlan), and
// whether the running controllers have all that the others had (Compare). It decides on
// values alone; admin reads and asks. The metadata itself is taken by admin.Import and
// given back by admin.Export.
package kraft
