package listener

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// addEach adds the name of each element of a list.
func addEach[T any](n *names, kind string, list []T, name func(*T) string) {
	for i := range list {
		n.add(kind, name(&list[i]))
	}
}

func pointed(name *string) string {
	if name == nil {
		return "*"
	}
	return *name
}

// changed are the resources that a request wants to change; ok is false for
// requests that change nothing but records, offsets and membership of clients'
// own, and for what nodes say to one another.
func changed(body kmsg.Request) (n names, ok bool) {
	switch r := body.(type) {
	case *kmsg.CreateTopicsRequest:
		addEach(&n, "topic", r.Topics, func(t *kmsg.CreateTopicsRequestTopic) string { return t.Topic })
	case *kmsg.DeleteTopicsRequest:
		addEach(&n, "topic", r.TopicNames, func(t *string) string { return *t })
		addEach(&n, "topic", r.Topics, func(t *kmsg.DeleteTopicsRequestTopic) string {
			if t.Topic == nil {
				return kafka.UUID(t.TopicID).String()
			}
			return *t.Topic
		})
	case *kmsg.CreatePartitionsRequest:
		addEach(&n, "topic", r.Topics, func(t *kmsg.CreatePartitionsRequestTopic) string { return t.Topic })
	case *kmsg.DeleteRecordsRequest:
		addEach(&n, "topic", r.Topics, func(t *kmsg.DeleteRecordsRequestTopic) string { return t.Topic })
	case *kmsg.ElectLeadersRequest:
		addEach(&n, "topic", r.Topics, func(t *kmsg.ElectLeadersRequestTopic) string { return t.Topic })
	case *kmsg.AlterPartitionAssignmentsRequest:
		addEach(&n, "topic", r.Topics, func(t *kmsg.AlterPartitionAssignmentsRequestTopic) string { return t.Topic })
	case *kmsg.AlterReplicaLogDirsRequest:
		for i := range r.Dirs {
			addEach(&n, "topic", r.Dirs[i].Topics, func(t *kmsg.AlterReplicaLogDirsRequestDirTopic) string { return t.Topic })
		}
	case *kmsg.DeleteGroupsRequest:
		addEach(&n, "group", r.Groups, func(g *string) string { return *g })
	case *kmsg.OffsetDeleteRequest:
		n.add("group", r.Group)
	case *kmsg.AlterConfigsRequest:
		for i := range r.Resources {
			n.add(kindOf(r.Resources[i].ResourceType), r.Resources[i].ResourceName)
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for i := range r.Resources {
			n.add(kindOf(r.Resources[i].ResourceType), r.Resources[i].ResourceName)
		}
	default:
		return changedAccess(body)
	}
	return n, true
}

// changedAccess is changed for who may do what, and for the nodes.
func changedAccess(body kmsg.Request) (n names, ok bool) {
	switch r := body.(type) {
	case *kmsg.CreateACLsRequest:
		addEach(&n, "acl", r.Creations, func(c *kmsg.CreateACLsRequestCreation) string {
			return c.Principal + " on " + c.ResourceType.String() + " " + c.ResourceName
		})
	case *kmsg.DeleteACLsRequest:
		addEach(&n, "acl", r.Filters, func(f *kmsg.DeleteACLsRequestFilter) string {
			return pointed(f.Principal) + " on " + f.ResourceType.String() + " " + pointed(f.ResourceName)
		})
	case *kmsg.AlterClientQuotasRequest:
		for i := range r.Entries {
			addEach(&n, "quota", r.Entries[i].Entity, func(e *kmsg.AlterClientQuotasRequestEntryEntity) string { return e.Type + " " + pointed(e.Name) })
		}
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		addEach(&n, "user", r.Deletions, func(d *kmsg.AlterUserSCRAMCredentialsRequestDeletion) string { return d.Name })
		addEach(&n, "user", r.Upsertions, func(u *kmsg.AlterUserSCRAMCredentialsRequestUpsertion) string { return u.Name })
	case *kmsg.CreateDelegationTokenRequest:
		n.add("token", "of "+pointed(r.OwnerPrincipalName))
	case *kmsg.RenewDelegationTokenRequest, *kmsg.ExpireDelegationTokenRequest: // what names the token is its secret
	case *kmsg.UpdateFeaturesRequest:
		addEach(&n, "feature", r.FeatureUpdates, func(u *kmsg.UpdateFeaturesRequestFeatureUpdate) string { return u.Feature })
	case *kmsg.UnregisterBrokerRequest:
		n.add("broker", strconv.Itoa(int(r.BrokerID)))
	case *kmsg.AddRaftVoterRequest:
		n.add("controller", strconv.Itoa(int(r.VoterID)))
	case *kmsg.RemoveRaftVoterRequest:
		n.add("controller", strconv.Itoa(int(r.VoterID)))
	default:
		return n, false
	}
	return n, true
}

func kindOf(t kmsg.ConfigResourceType) string { return t.String() }
