/** Types of on-demand.mjs for the tests. */

/**
 * Installs the packages of scripts/on-demand/NAME unless they are there, and gives the folder that holds their node_modules.
 * Throws an Error that ends with the line to type.
 */
export function installOnDemand(name: string): string;
