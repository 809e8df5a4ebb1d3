package admin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
)

// settleVoters finds the quorum and checks that the sources are a majority of it
// and this node a member. The voters of a log with kraft.version 1 are those of
// its last KRaftVoters record. A log of kraft.version 0 has none: they come from
// the configuration, and the import appends the records that Apache's upgrade to
// kraft.version 1 writes, since kvorum's brokers find their controllers by them.
// They get an epoch of their own, above all old ones, so that a broker that has
// fetched something else at that offset, which no majority has, cuts it off.
func (i *Import) settleVoters(p *ImportPlan, sources []*source, state *State) error {
	var err error
	if state.KRaftVersion > 0 {
		p.Voters, err = votersOfLog(state.Voters)
	} else {
		p.Voters, err = i.staticVoters(sources, p.taken)
	}
	if err != nil {
		return err
	}
	if err := checkMajority(p.Voters, sources); err != nil {
		return err
	}
	if _, ok := voterOf(p.Voters, i.NodeID); !ok {
		return fmt.Errorf("node %d is not a controller of the imported quorum, which has the nodes %v: node.id must stay what it was", i.NodeID, voterIDs(p.Voters))
	}
	if state.KRaftVersion > 0 {
		return nil
	}
	voters := (&nodedir.Identity{Voters: p.Voters}).KRaftVoters()
	p.upgrade, err = batchAfter(p.EndOffset, p.EpochBase, state.Image.At().TimestampMs, &record.KRaftVersion{KRaftVersion: 1}, &voters)
	p.Notes = append(p.Notes, fmt.Sprintf("the log has kraft.version 0: kraft.version 1 and the voters are written at offset %d, epoch %d", p.EndOffset, p.EpochBase))
	return err
}

func votersOfLog(set *record.KRaftVoters) ([]nodedir.Voter, error) {
	if set == nil || len(set.Voters) == 0 {
		return nil, errors.New("the log has kraft.version 1 and no voters")
	}
	var out []nodedir.Voter
	for _, v := range set.Voters {
		if len(v.Endpoints) == 0 {
			return nil, fmt.Errorf("controller %d has no endpoint in the log", v.VoterID)
		}
		e := v.Endpoints[0]
		out = append(out, nodedir.Voter{ID: v.VoterID, DirectoryID: v.VoterDirectoryID, Host: e.Host, Port: e.Port, Listener: e.Name})
	}
	return out, nil
}

// staticVoters are the voters of a quorum with kraft.version 0: the ids of
// quorum-state, where they listen by the configuration, and their directory ids
// by their own directories or the list of controllers.
func (i *Import) staticVoters(sources []*source, taken *source) ([]nodedir.Voter, error) {
	const remedy = "set controller.quorum.voters as it was, or use --initial-controllers"
	voters := slices.Clone(i.Controllers)
	if len(voters) == 0 {
		for _, v := range i.StaticVoters {
			voters = append(voters, nodedir.Voter{ID: v.ID, Host: v.Host, Port: v.Port, Listener: i.Listener})
		}
	}
	if len(voters) == 0 {
		return nil, errors.New("the log has kraft.version 0, which says nothing of where the controllers are: " + remedy)
	}
	slices.SortFunc(voters, func(a, b nodedir.Voter) int { return int(a.ID) - int(b.ID) })
	known := slices.Sorted(slices.Values(taken.staticIDs))
	if len(known) > 0 && !slices.Equal(known, voterIDs(voters)) {
		return nil, fmt.Errorf("the old quorum had the controllers %v, but %v are configured: %s", known, voterIDs(voters), remedy)
	}
	for n := range voters {
		v := &voters[n]
		for _, s := range sources {
			if s.meta.NodeID == v.ID && v.DirectoryID.IsZero() {
				v.DirectoryID = s.meta.DirectoryID
			}
		}
		if v.DirectoryID.Reserved() {
			return nil, fmt.Errorf("the directory id of controller %d is not known, and the log has kraft.version 0, which does not say it: import its directory too (one that Kafka 3.7 or newer has run on), or name all controllers by --initial-controllers", v.ID)
		}
	}
	return voters, nil
}

// checkMajority: a majority of the voters has every record that was ever
// committed, in one of them; a smaller part may have none of the last ones.
func checkMajority(voters []nodedir.Voter, sources []*source) error {
	for _, s := range sources {
		v, ok := voterOf(voters, s.meta.NodeID)
		if !ok {
			return fmt.Errorf("%s is of node %d, which is not among the controllers %v: leave it out", s.dir, s.meta.NodeID, voterIDs(voters))
		}
		if !s.meta.DirectoryID.IsZero() && v.DirectoryID != s.meta.DirectoryID {
			return fmt.Errorf("%s has directory id %s, but the quorum knows controller %d by %s: that directory was replaced, leave it out", s.dir, s.meta.DirectoryID, v.ID, v.DirectoryID)
		}
	}
	if need := len(voters)/2 + 1; len(sources) < need {
		return fmt.Errorf("%d of the controllers %v are not a majority: the newest records may be only on the others; name the directories of %d", len(sources), voterIDs(voters), need)
	}
	return nil
}

func voterOf(voters []nodedir.Voter, id kafka.NodeID) (nodedir.Voter, bool) {
	for _, v := range voters {
		if v.ID == id {
			return v, true
		}
	}
	return nodedir.Voter{}, false
}

func voterIDs(voters []nodedir.Voter) (ids []kafka.NodeID) {
	for _, v := range voters {
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	return ids
}

// writeIdentity writes what kvorum keeps of the node beside meta.properties. An
// imported log has its bootstrap records in it.
func (i *Import) writeIdentity(p *ImportPlan, dir string) error {
	instance, err := randomInstance(rand.Reader)
	if err != nil {
		return err
	}
	return nodedir.WriteIdentity(dir, &nodedir.Identity{Instance: instance, Voters: p.Voters, Bootstrap: [][]byte{}, EpochBase: p.EpochBase})
}

// randomDirectory makes a log directory and an id for it.
func randomDirectory(dir string) (kafka.DirectoryID, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kafka.ZeroUUID, fmt.Errorf("create log directory: %w", err)
	}
	return kafka.RandomUUID(rand.Reader)
}

// moveInto gives a finished directory its name, durably. What formatting left at
// that name is removed; refuseLeftovers has seen that there is nothing else.
func moveInto(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return vfs.SyncDir(vfs.Default, filepath.Dir(to))
}
