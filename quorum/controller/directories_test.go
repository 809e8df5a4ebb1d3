package controller

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

func (w *world) assignRequest(id kafka.BrokerID, to kafka.DirectoryID, topic kafka.TopicID, partitions ...int32) *kmsg.AssignReplicasToDirsRequest {
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = int32(id), int64(w.in.Image.Broker(id).Epoch)
	asked := kmsg.AssignReplicasToDirsRequestDirectoryTopic{TopicID: topic}
	for _, p := range partitions {
		asked.Partitions = append(asked.Partitions, kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{Partition: p})
	}
	req.Directories = []kmsg.AssignReplicasToDirsRequestDirectory{{ID: to, Topics: []kmsg.AssignReplicasToDirsRequestDirectoryTopic{asked}}}
	return req
}

func (w *world) assign(id kafka.BrokerID, to kafka.DirectoryID, topic kafka.TopicID, partitions ...int32) []errors.Code {
	w.t.Helper()
	d, resp := AssignReplicasToDirs(w.in, w.assignRequest(id, to, topic, partitions...))
	if resp.ErrorCode != 0 || len(resp.Directories) != 1 || len(resp.Directories[0].Topics) != 1 {
		w.t.Fatalf("%+v", resp)
	}
	w.apply(d)
	var codes []errors.Code
	for _, p := range resp.Directories[0].Topics[0].Partitions {
		codes = append(codes, errors.Code(p.ErrorCode))
	}
	return codes
}

func TestAssignReplicasToDirs(t *testing.T) {
	w := newWorld(t, image.MV43IV0, DefaultFeatures(image.MV43IV0))
	w.start(1, 2)
	topic := w.topic(1, "a", nil, []kafka.BrokerID{1, 2}, []kafka.BrokerID{2})
	if codes := w.assign(1, dir(1, 1), topic, 0, 1, 7); !slices.Equal(codes, []errors.Code{errors.None, errors.NotLeaderOrFollower, errors.UnknownTopicOrPartition}) {
		t.Error(codes)
	}
	if codes := w.assign(1, dir(1, 1), worldTopicID(9), 0); !slices.Equal(codes, []errors.Code{errors.UnknownTopicID}) {
		t.Error(codes)
	}
	p := w.partition("a", 0)
	if !slices.Equal(p.Directories, []kafka.DirectoryID{dir(1, 1), kafka.DirectoryUnassigned}) || p.Leader != 1 || p.PartitionEpoch != 1 {
		t.Errorf("%s, %v", partitionText(p), p.Directories)
	}
	before := len(w.log)
	if w.assign(1, dir(1, 1), topic, 0); len(w.log) != before {
		t.Error("the same directory was written again")
	}
	// A directory that is not online is as good as gone.
	w.assign(1, kafka.DirectoryLost, topic, 0)
	if p := w.partition("a", 0); p.Leader != 2 || !slices.Equal(p.ISR, []kafka.BrokerID{2}) || p.Directories[0] != kafka.DirectoryLost {
		t.Errorf("%s, %v", partitionText(p), p.Directories)
	}
}

func TestAssignReplicasToDirsIsRefused(t *testing.T) {
	w := newWorld(t, image.MV37IV2, nil)
	w.start(1)
	topic := w.topic(1, "a", nil, []kafka.BrokerID{1})
	req := w.assignRequest(1, dir(1, 0), topic, 0)
	req.BrokerEpoch++
	if d, resp := AssignReplicasToDirs(w.in, req); errors.Code(resp.ErrorCode) != errors.StaleBrokerEpoch || d.Records != nil {
		t.Errorf("%+v", resp)
	}
	old := newWorld(t, 16, nil)
	old.start(1)
	if d, resp := AssignReplicasToDirs(old.in, old.assignRequest(1, dir(1, 0), topic, 0)); errors.Code(resp.ErrorCode) != errors.UnsupportedVersion || d.Records != nil {
		t.Errorf("%+v", resp)
	}
}
