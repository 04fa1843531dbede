export async function testCluster() {}
