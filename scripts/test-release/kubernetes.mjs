export async function testKubernetes() {}
