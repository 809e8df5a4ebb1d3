package server

import (
	"sync/atomic"

	"kvorum/config"
	"kvorum/metadatalog/image"
	"kvorum/quorum"
	"kvorum/security"
)

// authorizer applies StandardAuthorizer's rules to the entries of the committed
// image. It keeps an index of them, made anew when they change.
type authorizer struct {
	rules security.Rules
	index atomic.Pointer[aclIndex]
}

type aclIndex struct {
	image *image.Image
	acls  security.ACLs
}

func newAuthorizer(node *config.Node) quorum.Authorizer {
	a := &authorizer{rules: security.NewRules(node.SuperUsers, node.AllowEveryoneIfNoACLFound)}
	return a.allowed
}

func (a *authorizer) allowed(s *quorum.State, principal, host string, operation, resourceType int8, resource string) bool {
	index := a.index.Load()
	if index == nil || !index.image.SameACLs(s.Image) {
		index = &aclIndex{image: s.Image, acls: security.NewACLs(s.Image.ACLs())}
		a.index.Store(index)
	}
	return a.rules.Authorize(index.acls, security.Question{
		Principal: principal, Host: host, Operation: operation, ResourceType: resourceType, Resource: resource,
	}).Allowed
}
