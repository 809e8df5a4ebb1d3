package handler

import (
	"math"
	"net/netip"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// clusterName is the name of the one CLUSTER resource.
const clusterName = "kafka-cluster"

// Authorizer decides whether a principal, from a host, may do an operation on a
// resource.
type Authorizer interface {
	Allowed(who protocol.Principal, from netip.Addr, operation kmsg.ACLOperation, resource kmsg.ACLResourceType, name string) bool
	// AllowedSome decides whether there is any resource of a type on which the
	// principal may do the operation.
	AllowedSome(who protocol.Principal, from netip.Addr, operation kmsg.ACLOperation, resource kmsg.ACLResourceType) bool
}

// may reports whether the client may do the operation. Every check of every API
// goes through here.
func (c *call) may(operation kmsg.ACLOperation, resource kmsg.ACLResourceType, name string) bool {
	return c.cfg.Authorizer == nil || c.cfg.Authorizer.Allowed(c.Principal, c.Client.Addr(), operation, resource, name)
}

func (c *call) maySome(operation kmsg.ACLOperation, resource kmsg.ACLResourceType) bool {
	return c.cfg.Authorizer == nil || c.cfg.Authorizer.AllowedSome(c.Principal, c.Client.Addr(), operation, resource)
}

func (c *call) mayTopic(operation kmsg.ACLOperation, name string) bool {
	return c.may(operation, kmsg.ACLResourceTypeTopic, name)
}

func (c *call) mayGroup(operation kmsg.ACLOperation, name string) bool {
	return c.may(operation, kmsg.ACLResourceTypeGroup, name)
}

func (c *call) mayCluster(operation kmsg.ACLOperation) bool {
	return c.may(operation, kmsg.ACLResourceTypeCluster, clusterName)
}

// noOperations stands for "was not asked for" in a field of authorized
// operations.
const noOperations = math.MinInt32

// operationsOn are the operations that a resource of a type knows
// (AclEntry.supportedOperations).
var operationsOn = map[kmsg.ACLResourceType][]kmsg.ACLOperation{
	kmsg.ACLResourceTypeTopic: {
		kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationDelete, kmsg.ACLOperationAlter,
		kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs,
	},
	kmsg.ACLResourceTypeGroup: {
		kmsg.ACLOperationRead, kmsg.ACLOperationDelete, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs,
	},
	kmsg.ACLResourceTypeCluster: {
		kmsg.ACLOperationCreate, kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe, kmsg.ACLOperationClusterAction,
		kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs, kmsg.ACLOperationIdempotentWrite,
	},
}

// operations is what the client may do with a resource: a bit for each
// operation's code (KIP-430).
func (c *call) operations(resource kmsg.ACLResourceType, name string) int32 {
	bits := int32(0)
	for _, o := range operationsOn[resource] {
		if c.may(o, resource, name) {
			bits |= 1 << o
		}
	}
	return bits
}

// clusterOperations is operations on the cluster for who may describe it, and
// none for who may not; noOperations where it was not asked for.
func (c *call) clusterOperations(asked bool) int32 {
	switch {
	case !asked:
		return noOperations
	case !c.mayCluster(kmsg.ACLOperationDescribe):
		return 0
	default:
		return c.operations(kmsg.ACLResourceTypeCluster, clusterName)
	}
}
