// Package inside prepares tasks for containers on other machines: what their first process,
// tenon-pod, has to do, which files of this machine it needs, and the images that it runs in.
// The executors of clusters and clouds share it.
package inside
