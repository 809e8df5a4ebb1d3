package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Maintenance is a broker that is to lead nothing while somebody works on it, or is
// to lead its share again.
//
// It is done by what any Kafka controller does, so that it needs no state of its
// own: the order of a partition's replicas says who leads it first, and an election
// follows that order. A broker that is last in all of its partitions leads none
// whose other replicas live and are in sync, after its restart neither, and no data
// moves.
type Maintenance struct {
	Broker int32 `json:"broker"`
	// Live says that the broker answers for itself.
	Live bool `json:"live"`
	// Replicas counts the partitions that it has a copy of, Leads those that it leads.
	Replicas int `json:"replicas"`
	Leads    int `json:"leads"`
	// Preferred counts those of which it is the first replica among several: it would
	// lead them again.
	Preferred int `json:"preferred"`
	// Alone are partitions that would be offline without it: it is the only replica,
	// or the only one in sync.
	Alone []string `json:"alone"`
	// Short are partitions, not of Alone, that producers with acks=all could not write
	// to without it: too few others are in sync for min.insync.replicas.
	Short []string `json:"short"`
	// Reordered are the changes of the replicas' order that are planned or made.
	Reordered []Move `json:"reordered"`
}

// Off says that the broker leads nothing and would lead nothing again, that others
// could lead instead.
func (m *Maintenance) Off() bool { return m.Leads == 0 && m.Preferred == 0 }

// Maintenance looks at a broker, and plans how it leads nothing (start) or its share
// (!start) of the partitions that it has a copy of.
func (c *Cluster) Maintenance(ctx context.Context, broker int32, start bool) (*Maintenance, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	needed, err := c.minISR(ctx, m.Topics.Names())
	if err != nil {
		return nil, err
	}
	report := &Maintenance{Broker: broker, Live: slices.Contains(m.Brokers.NodeIDs(), broker), Alone: []string{}, Short: []string{}}
	var all []*placed
	for _, t := range m.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			if slices.Contains(p.Replicas, broker) {
				report.look(p, needed[t.Topic])
			}
			all = append(all, &placed{t.Topic, p.Partition, slices.Clone(p.Replicas)})
		}
	}
	if report.Replicas == 0 && !report.Live {
		return nil, fmt.Errorf("there is no broker %d, and no partition has a replica on it: `kvorum cluster brokers` shows those there are", broker)
	}
	if start {
		putLast(all, broker, m.Topics)
	} else {
		leadAgain(all, broker, m.Brokers.NodeIDs())
	}
	report.Reordered = reordered(all, m.Topics)
	return report, nil
}

func (r *Maintenance) look(p kadm.PartitionDetail, needed int) {
	name := p.Topic + "-" + strconv.Itoa(int(p.Partition))
	r.Replicas++
	if p.Leader == r.Broker {
		r.Leads++
	}
	if p.Replicas[0] == r.Broker && len(p.Replicas) > 1 {
		r.Preferred++
	}
	others := len(p.ISR)
	if slices.Contains(p.ISR, r.Broker) {
		others--
	}
	switch {
	case others == 0:
		r.Alone = append(r.Alone, name)
	case others < min(max(needed, 1), len(p.Replicas)):
		r.Short = append(r.Short, name)
	}
}

// putLast puts a broker behind the other replicas, whose order stays but where the
// first of them is not in sync: then one that is comes first, or the broker would
// lead on.
func putLast(all []*placed, broker int32, now kadm.TopicDetails) {
	for _, p := range all {
		i := slices.Index(p.replicas, broker)
		if i < 0 || len(p.replicas) == 1 {
			continue
		}
		others := slices.Delete(p.replicas, i, i+1)
		isr := now[p.topic].Partitions[p.partition].ISR
		if at := slices.IndexFunc(others, func(id int32) bool { return slices.Contains(isr, id) }); at > 0 {
			id := others[at]
			others = slices.Insert(slices.Delete(others, at, at+1), 0, id)
		}
		p.replicas = append(others, broker)
	}
}

// leadAgain puts a broker first where that makes the counts of preferred leaders
// more even, and changes nothing else.
func leadAgain(all []*placed, broker int32, live []int32) {
	first := map[int32]int{}
	for _, p := range all {
		first[p.replicas[0]]++
	}
	for changed := true; changed; {
		changed = false
		// From the broker that is preferred most often, so that the share comes from all.
		most, from := (*placed)(nil), 0
		for _, p := range all {
			now := p.replicas[0]
			if now != broker && slices.Contains(live, now) && slices.Contains(p.replicas, broker) && first[now] > first[broker]+1 && first[now] > from {
				most, from = p, first[now]
			}
		}
		if most != nil {
			first[most.replicas[0]]--
			first[broker]++
			i := slices.Index(most.replicas, broker)
			most.replicas = slices.Insert(slices.Delete(most.replicas, i, i+1), 0, broker)
			changed = true
		}
	}
}

// reordered are the partitions whose replicas have another order than now.
func reordered(all []*placed, now kadm.TopicDetails) []Move {
	moves := []Move{}
	for _, p := range all {
		if from := now[p.topic].Partitions[p.partition].Replicas; !slices.Equal(from, p.replicas) {
			moves = append(moves, Move{Topic: p.topic, Partition: p.partition, From: from, To: p.replicas})
		}
	}
	return moves
}

// reorderPerRequest bounds one AlterPartitionReassignments: controllers refuse more
// than 10,000 records at once.
const reorderPerRequest = 1000

// Reorder gives partitions the order of replicas that a Maintenance planned. done is
// called with how many have it. A partition that is being moved is refused: it would
// lose its move.
func (c *Cluster) Reorder(ctx context.Context, m *Maintenance, done func(int)) error {
	moving, err := c.Moves(ctx)
	if err != nil {
		return err
	}
	for _, one := range moving {
		if slices.ContainsFunc(m.Reordered, func(r Move) bool { return r.Topic == one.Topic && r.Partition == one.Partition }) {
			return fmt.Errorf("%s-%d is being moved: wait for it (`kvorum partitions status`), or take it back (`kvorum partitions cancel`)", one.Topic, one.Partition)
		}
	}
	n := 0
	for some := range slices.Chunk(m.Reordered, reorderPerRequest) {
		if err := c.Move(ctx, some, 0); err != nil {
			return err
		}
		n += len(some)
		done(n)
	}
	return nil
}

// ElectFor holds elections where broker leads and another replica is preferred and
// in sync, or, with back, where broker is preferred and in sync and does not lead.
// It tells how many elections there were to hold.
func (c *Cluster) ElectFor(ctx context.Context, broker int32, back bool) (held int, err error) {
	plan, err := c.PlanElect(ctx, nil, false)
	if err != nil {
		return 0, err
	}
	plan = slices.DeleteFunc(plan, func(e Election) bool {
		return back && e.Preferred != broker || !back && e.Leader != broker
	})
	if len(plan) == 0 {
		return 0, nil
	}
	return len(plan), c.Elect(ctx, plan, false)
}
