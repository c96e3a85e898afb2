// Package edge protects a service on a network: TLS, who a client is and what
// it may ask, how much of that, and an audit log. It knows nothing about models. A zero value of
// each part lets everything through.
//
// What it reads from files is read again when they change: see [Source].
package edge
