package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// Groups is the group coordinator (coordinator.Groups). Its answers are at the
// version of the request.
type Groups interface {
	JoinGroup(context.Context, group.Client, *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse
	SyncGroup(context.Context, group.Client, *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse
	Heartbeat(context.Context, group.Client, *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse
	LeaveGroup(context.Context, group.Client, *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse
	OffsetCommit(context.Context, group.Client, *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse
	OffsetFetch(context.Context, group.Client, *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse
	OffsetDelete(context.Context, group.Client, *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse
	ListGroups(context.Context, *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse
	DescribeGroups(context.Context, *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse
	DeleteGroups(context.Context, group.Client, *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse
	// EndTransaction writes the marker that ends a producer's transaction into a
	// partition of __consumer_offsets; errors are wire errors.
	EndTransaction(ctx context.Context, p kafka.PartitionID, marker batch.EndTxn, transactionVersion int16) error
}

// client is who asks, as groups remember their members.
func (c *call) client() group.Client {
	out := group.Client{Host: "/" + c.Client.Addr().Unmap().String()}
	if c.ClientID != nil {
		out.ID = *c.ClientID
	}
	return out
}
