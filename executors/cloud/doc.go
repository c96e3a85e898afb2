// Package cloud has what the executors of clouds share: what a unit may read and write, from which
// its rights follow, names of resources, and objectives that alarms are made from.
package cloud
