// Package mirror keeps ZooKeeper written while brokers may still go back to it
// (KIP-866, dual write), and compares what ZooKeeper holds with an image. The
// migration's driver gives each image to a Mirror after it has been committed;
// package convert says which nodes an image asks for, and package zk carries the
// writes out under the fence of a claim.
package mirror
