package znode

import (
	"errors"
	"fmt"
)

// configs reads broker configurations, quotas and SCRAM credentials.
func (d *decoder) configs() {
	for _, name := range d.t.Children(BrokerConfigsPath) {
		path := BrokerConfigsPath + "/" + name
		if name != DefaultEntity {
			if _, err := brokerID(name); err != nil {
				d.problem(path, Blocking, err)
				continue
			}
		}
		d.config(&d.s.BrokerConfigs, path, name, "")
	}
	for _, name := range d.t.Children(UserConfigsPath) {
		d.config(&d.s.Users, UserConfigsPath+"/"+name, name, "")
		for _, client := range d.t.Children(UserClientsPath(name)) {
			d.config(&d.s.UserClients, UserClientsPath(name)+"/"+client, name, client)
		}
	}
	for _, name := range d.t.Children(ClientConfigsPath) {
		d.config(&d.s.Clients, ClientConfigsPath+"/"+name, name, "")
	}
	for _, name := range d.t.Children(IPConfigsPath) {
		d.config(&d.s.IPs, IPConfigsPath+"/"+name, name, "")
	}
}

// config reads one node. One without a single value says nothing: Kafka leaves
// such nodes behind when the last value is removed.
func (d *decoder) config(into *[]ConfigNode, path, name, client string) {
	v := read(d, path, DecodeConfig)
	if v == nil || len(v.Value) == 0 {
		return
	}
	node := ConfigNode{Path: path, Config: v.Value}
	var err error
	if node.Name, err = entityName(name); err == nil && client != "" {
		node.Client, err = entityName(client)
	}
	if other, twice := d.entities[entityKey(path, node)]; err == nil && twice {
		err = fmt.Errorf("the node %s is of the same entity", other)
	}
	if err != nil {
		d.problem(path, Blocking, err)
		return
	}
	d.entities[entityKey(path, node)] = path
	*into = append(*into, node)
}

// entityKey tells entities apart: one name may be written in two ways, as a%20b and
// a+b.
func entityKey(path string, n ConfigNode) [3]string {
	kind := Parent(path)
	if n.Client != "" || Base(kind) == "clients" && kind != ClientConfigsPath {
		kind = "clients of users"
	}
	return [3]string{kind, n.Name, n.Client}
}

// entityName is the name of an entity by its node, "" for the default.
func entityName(node string) (string, error) {
	if node == DefaultEntity {
		return "", nil
	}
	name, err := Desanitize(node)
	if err != nil {
		return "", fmt.Errorf("the node's name: %w", err)
	}
	if name == "" {
		return "", errors.New("the node's name is empty")
	}
	return name, nil
}

// EntityNode is the node name of an entity, the inverse of what Decode does: "" is
// the default.
func EntityNode(name string) string {
	if name == "" {
		return DefaultEntity
	}
	return Sanitize(name)
}
