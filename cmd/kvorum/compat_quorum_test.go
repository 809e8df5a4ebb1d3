package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/kvorumtest"
)

// TestQuorumTool checks what the tool prints of a quorum of three and an observer
// as MetadataQuorumCommand does, which one node cannot show.
func TestQuorumTool(t *testing.T) {
	replica := func(id int32, dir byte, end, fetched, caughtUp int64) quorumReplica {
		return quorumReplica{ReplicaID: id, ReplicaDirectoryID: [16]byte{15: dir}, LogEndOffset: end, LastFetchTimestamp: fetched, LastCaughtUpTimestamp: caughtUp}
	}
	describe := func(voters, observers []quorumReplica) *kmsg.DescribeQuorumResponse {
		return &kmsg.DescribeQuorumResponse{
			Topics: []kmsg.DescribeQuorumResponseTopic{{Partitions: []kmsg.DescribeQuorumResponseTopicPartition{
				{LeaderID: 2, LeaderEpoch: 7, HighWatermark: 60, CurrentVoters: voters, Observers: observers}}}},
			Nodes: []kmsg.DescribeQuorumResponseNode{{NodeID: 1, Listeners: []kmsg.DescribeQuorumResponseNodeListener{{Name: "C", Host: "h", Port: 9093}, {Name: "D", Host: "h", Port: 9094}}}},
		}
	}
	resp := describe([]quorumReplica{replica(1, 1, 50, 900, 800), replica(2, 2, 61, 1000, 1000), replica(3, 0, 50, -1, -1)}, []quorumReplica{replica(11, 0, 40, 990, 700)})
	const head = "ClusterId:              c\nLeaderId:               2\nLeaderEpoch:            7\nHighWatermark:          60\n"
	want := head + "MaxFollowerLag:         11\nMaxFollowerLagTimeMs:   200\n" +
		`CurrentVoters:          [{"id": 1, "directoryId": "AAAAAAAAAAAAAAAAAAAAAQ", "endpoints": ["C://h:9093", "D://h:9094"]}, {"id": 2, "directoryId": "AAAAAAAAAAAAAAAAAAAAAg"}, {"id": 3}]` + "\n" +
		`CurrentObservers:       [{"id": 11}]` + "\n"
	if got := quorumSummary("c", resp); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	never := describe([]quorumReplica{replica(3, 0, 50, -1, -1), replica(2, 2, 61, 1000, 1000)}, nil)
	if got := quorumSummary("c", never); !strings.Contains(got, "MaxFollowerLagTimeMs:   -1\n") {
		t.Error(got)
	}
	tool := quorumTool{humanReadable: true}
	rows, err := tool.replicas(&resp.Topics[0].Partitions[0], time.UnixMilli(1005))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, row := range rows[1:] {
		lines = append(lines, strings.Join(row, "|"))
	}
	if got, want := strings.Join(lines, "\n"), "2|AAAAAAAAAAAAAAAAAAAAAg|61|0|5 ms ago|5 ms ago|Leader\n1|AAAAAAAAAAAAAAAAAAAAAQ|50|11|105 ms ago|205 ms ago|Follower\n"+
		"3|AAAAAAAAAAAAAAAAAAAAAA|50|11|-1|-1|Follower\n11|AAAAAAAAAAAAAAAAAAAAAA|40|21|15 ms ago|305 ms ago|Observer"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := tool.replicas(&resp.Topics[0].Partitions[0], time.UnixMilli(999)); err == nil || !strings.Contains(err.Error(), "possible drift") {
		t.Error(err)
	}
}

// TestQuorumToolWords runs the words of the tool, and what it refuses.
func TestQuorumToolWords(t *testing.T) {
	broker := kvorumtest.Start(t)
	for _, c := range []struct {
		code int
		want string
		args string
	}{
		{exitOK, "MaxFollowerLag:         0\nMaxFollowerLagTimeMs:   0\n", "--bootstrap-server " + broker + " describe --status"},
		{exitOK, " ms ago", "describe --replication --human-readable --bootstrap-server " + broker},
		{exitError, "only supported along with --replication", "describe --status --human-readable --bootstrap-server " + broker},
		{exitError, "and not both", "describe --status"},
		{exitError, "`kvorum quorum status`", "describe --state"},
		{exitError, "kvorum.raft.voters", "remove-controller --controller-id 3 --controller-directory-id x"},
		{exitError, "kvorum.raft.voters", "add-controller --dry-run"},
	} {
		r := kvorum(t, append([]string{"compat", "kafka-metadata-quorum"}, strings.Fields(c.args)...)...)
		if said := r.stdout + r.stderr; r.code != c.code || !strings.Contains(said, c.want) {
			t.Errorf("%s: exit code %d, want %d; it said %q, want %q in it", c.args, r.code, c.code, said, c.want)
		}
	}
}
