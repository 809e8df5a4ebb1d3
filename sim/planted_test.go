//go:build planted

package sim

import (
	"slices"
	"testing"

	"kvorum/internal/planted"
)

// focus are the faults that bring a bug out; the others would only take its time.
var focus = map[planted.Bug][]FaultKind{
	planted.CommitUnderMinISR:      {KillBroker, PauseBroker, Isolate, StopBroker, KillEverything},
	planted.ForgetProposedISR:      {PauseBroker, SlowDown, Isolate, KillBroker},
	planted.CommitByAnswer:         {ChangeMinISR, Isolate, PauseBroker, SlowDown, KillBroker},
	planted.ForgetJournal:          {KillEverything, KillBroker, SlowDown, Isolate, PauseBroker},
	planted.CutToHighWatermark:     {KillBroker, PauseBroker, StopBroker, ElectPreferred, KillEverything},
	planted.CutByLeaderOnly:        {KillBroker, PauseBroker, Isolate, ElectPreferred, SlowDown},
	planted.IgnoreBrokerEpochs:     {LoseProposed, LoseProposed, KillBroker},
	planted.AdmitFenced:            {StopBroker, PauseBroker, Isolate, SlowDown},
	planted.IgnorePartitionEpoch:   {SlowDown, Isolate, PauseBroker, StopBroker},
	planted.UncleanStays:           {LosePower, KillBroker, PauseBroker},
	planted.EligibleForEver:        {ChangeMinISR, KillEverything, KillBroker, PauseBroker, Isolate},
	planted.ResumeAfterPowerLoss:   {LosePower, KillBroker, PauseBroker},
	planted.ResumeLeaving:          {StopBroker, KillBroker, KillEverything},
	planted.ServeUnregistered:      {LosePower, KillBroker, KillEverything, Isolate},
	planted.StaleControllerCommits: {ElectController, KillController, PauseController},
	planted.AnswerUncommitted:      {PauseBroker, Isolate, KillBroker, SlowDown},
	planted.AnyHighWatermark:       {StopBroker, ElectPreferred},
	planted.ReadUncommitted:        {PauseBroker, Isolate, KillBroker, SlowDown},
	planted.ShowInherited:          {PauseBroker, Isolate, KillBroker, SlowDown},
	planted.UnprovenCoordinator:    {ReturnAlone, ReturnAlone, ElectController},
	planted.KeepRolledBack:         {PauseBroker, Isolate, KillBroker, SlowDown},
	planted.ForgetTombstones:       {KillBroker, StopBroker, ElectPreferred},
	planted.ForgetGenerations:      {KillBroker, StopBroker, ElectPreferred},
	planted.AnyGenerationCommits:   {SlowDown, PauseBroker, Isolate, KillBroker},
	planted.ProofFromSilence:       {LosePower, Slander, CutOneWay, KillBroker},
	planted.NeverSuspectItself:     {Slander, Slander, KillBroker, ElectController},
	planted.TrustIndex:             {Isolate, LosePower, LosePower, SlowDown},
	planted.OneRefusal:             {KillBroker, Slander, LosePower},
	planted.ForgetHeldBack:         {LoseAllPower, KillEverything, ElectController, KillController, PauseController},
	planted.TakeUncommitted:        {KillControllers, KillBroker, SlowDown},
	planted.TakeDamaged:            {KillControllers, KillBroker, SlowDown},
	planted.GiveToStrangers:        {KillControllers, KillBroker, SlowDown},
	planted.GiveAnotherHistory:     {KillControllers, KillBroker, SlowDown},
	planted.MarkerWithoutEpoch:     {KillBroker, PauseBroker, SlowDown},
	planted.DelayedEndTxn:          {KillBroker, PauseBroker, SlowDown},
	planted.AnyCoordinatorEpoch:    {KillBroker, PauseBroker, SlowDown},
	planted.ShowOpenTransactions:   {KillBroker, PauseBroker, SlowDown},
	planted.ForgetNextOfProducer:   {KillBroker, PauseBroker, Isolate, ElectPreferred},
	planted.ForgetAborted:          {KillBroker, LosePower, StopBroker},
	planted.LoseAborted:            {LosePower, LosePower, KillBroker, StopBroker},
	planted.UncleanAtOnce:          {LoseAllPower, Slander, KillEverything, KillBroker},
	planted.StrangerReplaces:       {SecondProcess, SecondProcess, KillBroker},
	planted.ReplaceBeforeHangUp:    {SecondProcess, SecondProcess, KillBroker},
	planted.ObsoleteEpoch:          {KillBroker, StopBroker, ElectPreferred},
	planted.ForgetFailure:          {FailDisk, FailDisk, KillBroker, PauseBroker},
	planted.RegistrationFirst:      {KillBroker, PauseBroker, KillController, ElectController},
	planted.MakeUnconfirmed:        {HideLog, KillBroker, SlowDown},
}

// proofs are the bugs of fencing on proof of death, without which they cannot show.
var proofs = []planted.Bug{planted.ProofFromSilence, planted.OneRefusal, planted.ForgetHeldBack, planted.NeverSuspectItself, planted.UncleanAtOnce, planted.StrangerReplaces, planted.ReplaceBeforeHangUp}

// ofGroups are the bugs of group coordinators, which only some worlds have.
var ofGroups = []planted.Bug{planted.AnswerUncommitted, planted.AnyHighWatermark, planted.ReadUncommitted, planted.ShowInherited, planted.UnprovenCoordinator, planted.KeepRolledBack, planted.ForgetTombstones,
	planted.ForgetGenerations, planted.AnyGenerationCommits, planted.ObsoleteEpoch}

// ofTransactions are the bugs of transactions, which only some worlds have.
var ofTransactions = []planted.Bug{planted.MarkerWithoutEpoch, planted.DelayedEndTxn, planted.AnyCoordinatorEpoch, planted.ShowOpenTransactions, planted.ForgetAborted, planted.LoseAborted, planted.ForgetNextOfProducer}

// TestPlantedBugs plants one bug after the other: the simulator must find each
// within KVORUM_SEEDS seeds from KVORUM_SEED on, or 1,000.
func TestPlantedBugs(t *testing.T) {
	defer planted.Set(planted.None)
	first, n := seeds(t, 1000)
	for bug := planted.None + 1; bug < planted.Bugs; bug++ {
		t.Run(bug.String(), func(t *testing.T) {
			planted.Set(bug)
			plan := NewPlan
			if some := focus[bug]; some != nil {
				plan = func(seed uint64) Plan {
					p := NewPlanOf(seed, some...)
					p.Deaths = slices.Contains(proofs, bug) || bug == planted.UnprovenCoordinator
					p.Flush = slices.Contains(some, LoseAllPower)
					p.Unbalanced = p.Flush
					p.Groups = slices.Contains(ofGroups, bug)
					if bug == planted.RegistrationFirst {
						p.BatchRecords = 2
					}
					p.Transactions = slices.Contains(ofTransactions, bug)
					return p
				}
			}
			if r := play(first, n, plan, func(r Result) bool { return r.Broken != "" }); r != nil {
				t.Logf("found by seed %d as %s: %.200s", r.Seed, r.Broken, r.Problem)
				return
			}
			t.Errorf("%d seeds did not find it", n)
		})
	}
}
