package controller

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func alterRequest(w *world, sender kafka.BrokerID, topic string, isr ...kafka.BrokerID) (*kmsg.AlterPartitionRequest, *kmsg.AlterPartitionRequestTopicPartition) {
	p := w.partition(topic, 0)
	asked := kmsg.NewAlterPartitionRequestTopicPartition()
	asked.LeaderEpoch, asked.PartitionEpoch = int32(p.LeaderEpoch), int32(p.PartitionEpoch)
	for _, id := range isr {
		asked.NewISR = append(asked.NewISR, int32(id))
		asked.NewEpochISR = append(asked.NewEpochISR, kmsg.AlterPartitionRequestTopicPartitionNewEpochISR{BrokerID: int32(id), BrokerEpoch: -1})
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = 3, int32(sender), int64(w.in.Image.Broker(sender).Epoch)
	req.Topics = []kmsg.AlterPartitionRequestTopic{{
		TopicID: w.in.Image.TopicByName(topic).ID, Partitions: []kmsg.AlterPartitionRequestTopicPartition{asked},
	}}
	return req, &req.Topics[0].Partitions[0]
}

func TestAlterPartitionIsRefused(t *testing.T) {
	type request = kmsg.AlterPartitionRequest
	type partition = kmsg.AlterPartitionRequestTopicPartition
	tests := []struct {
		name   string
		change func(*world, *request, *partition)
		want   errors.Code
	}{
		{"nothing wrong", func(*world, *request, *partition) {}, errors.None},
		{"unknown topic", func(_ *world, r *request, _ *partition) { r.Topics[0].TopicID[3]++ }, errors.UnknownTopicID},
		{"unknown partition", func(_ *world, _ *request, p *partition) { p.Partition = 7 }, errors.UnknownTopicOrPartition},
		{"newer leader epoch", func(_ *world, _ *request, p *partition) { p.LeaderEpoch++ }, errors.NotController},
		{"newer partition epoch", func(_ *world, _ *request, p *partition) { p.PartitionEpoch++ }, errors.NotController},
		{"newer partition epoch comes before older leader epoch", func(_ *world, _ *request, p *partition) { p.LeaderEpoch--; p.PartitionEpoch++ }, errors.NotController},
		{"older leader epoch", func(_ *world, _ *request, p *partition) { p.LeaderEpoch-- }, errors.FencedLeaderEpoch},
		{"not the leader", func(w *world, r *request, _ *partition) {
			r.BrokerID, r.BrokerEpoch = 2, int64(w.in.Image.Broker(2).Epoch)
		}, errors.InvalidRequest},
		{"older partition epoch", func(_ *world, _ *request, p *partition) { p.PartitionEpoch-- }, errors.InvalidUpdateVersion},
		{"empty ISR", func(_ *world, _ *request, p *partition) { p.NewEpochISR = nil }, errors.InvalidRequest},
		{"member twice", func(_ *world, _ *request, p *partition) { p.NewEpochISR[1] = p.NewEpochISR[0] }, errors.InvalidRequest},
		{"no replica", func(_ *world, _ *request, p *partition) { p.NewEpochISR[1].BrokerID = 4 }, errors.InvalidRequest},
		{"without the leader", func(_ *world, _ *request, p *partition) { p.NewEpochISR = p.NewEpochISR[1:] }, errors.InvalidRequest},
		{"recovering with others", func(_ *world, _ *request, p *partition) { p.LeaderRecoveryState = 1 }, errors.InvalidRequest},
		{"recovering again", func(_ *world, _ *request, p *partition) { p.LeaderRecoveryState, p.NewEpochISR = 1, p.NewEpochISR[:1] }, errors.InvalidRequest},
		{"unknown recovery state", func(_ *world, _ *request, p *partition) { p.LeaderRecoveryState = 2 }, errors.InvalidRequest},
		{"a member restarted", func(_ *world, _ *request, p *partition) { p.NewEpochISR[1].BrokerEpoch = 1 }, errors.IneligibleReplica},
		{"a member is fenced", func(w *world, _ *request, p *partition) { p.NewEpochISR[1].BrokerID = 3 }, errors.IneligibleReplica},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, image.MV39IV0, nil)
			w.start(1, 2, 4)
			w.register(w.registration(3, 1)) // fenced
			w.topic(1, "a", nil, []kafka.BrokerID{1, 2, 3})
			// Epochs above 0, so that there are older ones.
			w.apply(Decision{Records: []record.Message{{Record: changeLeader(worldTopicID(1), 1), Version: 1}}})
			req, asked := alterRequest(w, 1, "a", 1, 2)
			test.change(w, req, asked)
			d, resp := AlterPartition(w.in, req)
			if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
				t.Fatalf("%+v", resp)
			}
			answer := resp.Topics[0].Partitions[0]
			if got := errors.Code(answer.ErrorCode); got != test.want || answer.Partition != asked.Partition {
				t.Errorf("%+v: %s instead of %s", answer, got, test.want)
			}
			if len(d.Records) > 0 {
				t.Errorf("wrote %s", picture(w.in.Image, d.Records))
			}
		})
	}
}

func changeLeader(topic kafka.TopicID, leader kafka.BrokerID) *record.PartitionChangeRecord {
	r := record.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID, r.Leader = topic, 0, leader
	return r
}

func TestAlterPartitionOfAStaleBroker(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2)
	w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
	req, _ := alterRequest(w, 1, "a", 1)
	req.BrokerEpoch++
	if d, resp := AlterPartition(w.in, req); errors.Code(resp.ErrorCode) != errors.StaleBrokerEpoch || d.Records != nil {
		t.Errorf("%+v", resp)
	}
}

func TestAlterPartitionShrinksAndGrows(t *testing.T) {
	for level, wantEpoch := range map[image.MetadataVersion]kafka.LeaderEpoch{7: 1, 11: 1, 12: 0, 21: 0, 30: 0} {
		for _, version := range []int16{2, 3} {
			w := newWorld(t, level, nil)
			w.start(1, 2)
			w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
			for _, isr := range [][]kafka.BrokerID{{1}, {1, 2}} {
				req, _ := alterRequest(w, 1, "a", isr...)
				req.Version = version
				d, resp := AlterPartition(w.in, req)
				w.apply(d)
				p, answer := w.partition("a", 0), resp.Topics[0].Partitions[0]
				if !slices.Equal(p.ISR, isr) || !slices.Equal(answer.ISR, kafka.Int32s(isr)) || answer.PartitionEpoch != int32(p.PartitionEpoch) ||
					answer.LeaderEpoch != int32(p.LeaderEpoch) || answer.LeaderID != 1 {
					t.Errorf("%s: %+v, %s", level, answer, partitionText(p))
				}
			}
			if p := w.partition("a", 0); p.LeaderEpoch != wantEpoch {
				t.Errorf("%s: the leader epoch is %d after a shrink", level, p.LeaderEpoch)
			}
		}
	}
}

// A leader that finishes a reassignment that removes it is told to look again.
func TestAlterPartitionThatElectsAnother(t *testing.T) {
	w := newWorld(t, image.MV39IV0, nil)
	w.start(1, 2, 3)
	w.topic(1, "a", nil, []kafka.BrokerID{1, 2})
	w.reassign("a", 3, 2)
	req, _ := alterRequest(w, 1, "a", 1, 2, 3)
	d, resp := AlterPartition(w.in, req)
	if got := errors.Code(resp.Topics[0].Partitions[0].ErrorCode); got != errors.NewLeaderElected {
		t.Errorf("answered %s", got)
	}
	w.apply(d)
	if p := w.partition("a", 0); p.Leader != 3 || p.Reassigning() || !slices.Equal(p.Replicas, []kafka.BrokerID{3, 2}) || !slices.Equal(p.ISR, []kafka.BrokerID{2, 3}) {
		t.Error(partitionText(p))
	}
}
