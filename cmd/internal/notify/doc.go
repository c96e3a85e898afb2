// Package notify sends notices and alerts over HTTP: to webhooks, as CloudEvents in JSON, and to
// Alertmanagers. It sends once and says whether that succeeded; who calls it decides what is sent, and when
// it is tried again.
//
// The URL of a webhook is a secret. No error of this package has any part of it, and neither has it what
// a server answered, except for the status.
package notify
