// Package planted holds the bugs that the simulator must find: each leaves out one
// rule, where the rule is. They exist only with the build tag planted, and then
// only the one that a test has chosen is on; without the tag Is is the constant
// false, and the compiler removes what it guards. A leaf.
package planted

// Bug is a rule that is left out.
type Bug int

// The bugs, by the class of reliability.md or the rule that they break.
const (
	None Bug = iota
	// CommitUnderMinISR lets the high watermark move while the ISR is too small
	// (KIP-966's strict rule).
	CommitUnderMinISR
	// ForgetProposedISR lets it move without the followers that were proposed and
	// may be in the ISR already (the maximal ISR).
	ForgetProposedISR
	// CommitByAnswer takes the controller's answer for what the image does not say
	// yet.
	CommitByAnswer
	// ForgetJournal lets a restarted leader forget whom it had proposed.
	ForgetJournal
	// CutToHighWatermark makes a follower cut off all that it does not know to be
	// committed (KIP-101).
	CutToHighWatermark
	// CutByLeaderOnly makes it go by the leader's answer alone, without a look at
	// its own epochs (KIP-279).
	CutByLeaderOnly
	// NeverCut lets a follower keep what its leader does not have.
	NeverCut
	// IgnoreBrokerEpochs counts what a broker said before it restarted, and takes it
	// into the ISR for who it was (KIP-903).
	IgnoreBrokerEpochs
	// AdmitFenced takes fenced and stopping brokers into the ISR.
	AdmitFenced
	// IgnorePartitionEpoch lets an ISR change overwrite a newer one.
	IgnorePartitionEpoch
	// UncleanStays leaves a broker that lost its page cache where it was (KIP-966's
	// last replica standing).
	UncleanStays
	// EligibleForEver keeps the ELR of a partition that commits without it.
	EligibleForEver
	// SameEpochAgain notes a leader epoch's start anew when the epoch is not new
	// (KAFKA-13790).
	SameEpochAgain
	// ForgetProducers keeps followers from learning what producers wrote: the
	// idempotence cache is lost on failover.
	ForgetProducers
	// FlushNothing moves the recovery point without an fsync.
	FlushNothing
	// TrustTail believes what an unclean stop has left behind the recovery point.
	TrustTail
	// StaleControllerCommits lets a deposed controller's batch into the log.
	StaleControllerCommits
	// ResumeAfterPowerLoss lets a broker go on as who it was although what it had not
	// synced is lost.
	ResumeAfterPowerLoss
	// ResumeLeaving lets one go on that had asked for leave to stop.
	ResumeLeaving
	// ServeUnregistered lets one act on an image from before its registration.
	ServeUnregistered
	// AnswerUncommitted lets a group coordinator answer before what it has appended is
	// committed.
	AnswerUncommitted
	// AnyHighWatermark lets it answer by the high watermark of another leader's records.
	AnyHighWatermark
	// ReadUncommitted shows reads what it has decided last.
	ReadUncommitted
	// ShowInherited lets a new one show offsets while it does not know yet how much of
	// its log is committed.
	ShowInherited
	// UnprovenCoordinator lets one that restarted without controllers coordinate before
	// it has shown that it leads.
	UnprovenCoordinator
	// KeepRolledBack keeps in its state what could not be appended.
	KeepRolledBack
	// ForgetTombstones loads offsets that were deleted.
	ForgetTombstones
	// ForgetGenerations lets a new coordinator count a group's generations anew.
	ForgetGenerations
	// AnyGenerationCommits takes offsets from members that a rebalance has left behind.
	AnyGenerationCommits
	// ProofFromSilence takes a listener that does not answer for one that refuses.
	ProofFromSilence
	// OneRefusal takes one refusal for proof of death.
	OneRefusal
	// ForgetHeldBack lets a new controller know nothing of the elections that its
	// predecessor held back.
	ForgetHeldBack
	// TakeUncommitted takes metadata from a peer that its high watermark does not cover.
	TakeUncommitted
	// TakeDamaged takes it without a look at its checksum.
	TakeDamaged
	// GiveToStrangers answers a broker of another cluster.
	GiveToStrangers
	// GiveAnotherHistory answers one whose log this one's is no continuation of.
	GiveAnotherHistory
	// AnswerAnyEpoch lets a leader answer readers that know its successor (KIP-320).
	AnswerAnyEpoch
	// RangeByHighWatermark takes an offset above a high watermark that is not known yet for
	// one that is out of range.
	RangeByHighWatermark
	// TellEndAtOnce tells such a high watermark as the end of the partition (KIP-207).
	TellEndAtOnce
	// ReadUncommittedTail lets consumers read above the high watermark.
	ReadUncommittedTail
	// MarkerWithoutEpoch ends whatever transaction a producer has open, of whatever
	// epoch the marker is.
	MarkerWithoutEpoch
	// DelayedEndTxn lets a marker that comes late end the transaction after its own
	// (KIP-890).
	DelayedEndTxn
	// AnyCoordinatorEpoch takes the markers of coordinators that others have succeeded.
	AnyCoordinatorEpoch
	// ShowOpenTransactions lets readers of committed records read up to the high
	// watermark.
	ShowOpenTransactions
	// ForgetAborted lets recovery not index the transactions that were aborted.
	ForgetAborted
	// LoseAborted leaves the index that recovery has written to the page cache.
	LoseAborted
	// NeverSuspectItself fences on proof of death however many brokers look dead at once.
	NeverSuspectItself
	// TrustIndex believes the offset index that an unclean stop has left, whatever became
	// of the log beside it.
	TrustIndex
	// ForgetNextOfProducer leaves out, where the index of aborted transactions says what
	// is open, the next transaction of the same producer.
	ForgetNextOfProducer
	// UncleanAtOnce holds elections that may lose data although a broker of the partition
	// is only presumed dead.
	UncleanAtOnce
	// StrangerReplaces lets a registration with other directories take the place of one
	// whose session stands.
	StrangerReplaces
	// ReplaceBeforeHangUp lets one do so while the other's connection is open.
	ReplaceBeforeHangUp
	// MakeUnconfirmed makes a log where there is none, by an image that no controller has
	// confirmed.
	MakeUnconfirmed
	// ObsoleteEpoch keeps, with a newer committed offset, the leader epoch of the one
	// before: a consumer that begins there takes its log for truncated, and resets.
	ObsoleteEpoch
	// ForgetFailure lets a broker go on as who it was although a directory has failed
	// meanwhile.
	ForgetFailure
	// RegistrationFirst fences a broker before its partitions have other leaders: a
	// controller that dies in between leaves them to nobody.
	RegistrationFirst
	// Bugs is their number.
	Bugs
)

var names = [...]string{"none", "commit under min ISR", "forget the proposed ISR", "commit by the answer", "forget the journal", "cut to the high watermark", "cut by the leader only",
	"never cut", "ignore broker epochs", "admit a fenced broker", "ignore the partition epoch", "an unclean broker stays",
	"eligible for ever", "the same epoch again", "forget producers", "flush nothing", "trust the tail", "a stale controller commits",
	"resume after a power loss", "resume a leaving broker", "serve unregistered",
	"answer commits that are not committed", "answer by any high watermark", "read uncommitted offsets", "show offsets that a predecessor may have committed", "an unproven coordinator",
	"keep what was rolled back", "forget tombstones of offsets", "forget generations", "members of any generation commit",
	"proof from silence", "one refusal is proof", "forget elections that are held back",
	"take uncommitted metadata from a peer", "take damaged metadata from a peer", "give metadata to a stranger", "give metadata of another history",
	"answer any leader epoch", "out of range above the high watermark", "tell the end at once", "read above the high watermark",
	"a marker without its epoch", "a delayed end of a transaction", "markers of a fenced coordinator", "show open transactions", "forget aborted transactions", "lose the index of aborted transactions",
	"never suspect itself", "trust the index", "forget the next transaction of a producer",
	"unclean elections at once", "a stranger replaces a broker", "a broker is replaced before it hangs up", "make logs by an unconfirmed image",
	"a committed offset with an obsolete epoch", "forget that a directory has failed", "fence a broker before its partitions are moved"}

// String is the bug's name.
func (b Bug) String() string { return names[b] }
