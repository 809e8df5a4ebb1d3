package controller

import "kvorum/protocol/errors"

// The operations and resource types that decisions authorise, by Kafka's codes
// (org.apache.kafka.common.acl.AclOperation, ...resource.ResourceType).
const (
	opCreate          int8 = 5
	opDelete          int8 = 6
	opAlter           int8 = 7
	opDescribe        int8 = 8
	opClusterAction   int8 = 9
	opDescribeConfigs int8 = 10
	opAlterConfigs    int8 = 11
	opCreateTokens    int8 = 13
	opDescribeTokens  int8 = 14

	resourceTopic           int8 = 2
	resourceGroup           int8 = 3
	resourceCluster         int8 = 4
	resourceDelegationToken int8 = 6
	resourceUser            int8 = 7
)

// clusterName is the only name of the CLUSTER resource (Resource.CLUSTER_NAME).
const clusterName = "kafka-cluster"

// may reports whether the caller may do operation on a resource.
func (c Caller) may(operation, resourceType int8, name string) bool {
	return c.Allowed == nil || c.Allowed(operation, resourceType, name)
}

// mayCluster is CLUSTER_AUTHORIZATION_FAILED unless the caller may do operation
// on the cluster (AuthHelper.authorizeClusterOperation). Its text goes into a
// response as Apache's exception does: the code's default, hence none.
func (c Caller) mayCluster(operation int8) *errors.Error {
	if c.may(operation, resourceCluster, clusterName) {
		return nil
	}
	return bare(errors.ClusterAuthorizationFailed)
}
