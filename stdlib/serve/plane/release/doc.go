// Package release is what a service with several versions decides and counts: which version
// answers a request ([Route]), what each of them did ([Counts]), and where their predictions
// differ ([Differences]). It follows the file of a route ([Follow]). It knows neither HTTP nor
// models.
package release
